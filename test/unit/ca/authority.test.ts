import { X509Certificate } from "node:crypto";
import * as peculiar from "./peculiar.ts";
import { describe, expect, test } from "vitest";
import { Authority } from "../../../src/ca/authority.ts";
import { makeKeyPair } from "../../../src/ca/keys.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { makeRoot } from "../../../src/ca/root.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { identity } from "../../../src/world/names.ts";
import { DAY, HOUR, memoryStore, MINUTE, startAuthority, testSignal, UUID } from "./support.ts";
import { FakeClock } from "../../support/clock.ts";

const NOW = Date.UTC(2031, 4, 6, 7, 8, 9, 10);
const bookbuyer = identity("bookbuyer", "bookbuyer");
const parse = (issued: { chainPem: string }) => new X509Certificate(issued.chainPem);

const good = await makeRoot("ecdsa-p256", DAY, NOW);
const other = await makeRoot("ecdsa-p256", DAY, NOW);

describe("a workload's certificate", () => {
  test("has OSM's DNS name and the SPIFFE ID, lasts a day and begins five minutes ago", async () => {
    const authority = await startAuthority({}, { clock: new FakeClock(NOW) });
    const issued = await authority.issueWorkload(bookbuyer);
    const certificate = parse(issued);
    expect(certificate.subject).toBe("CN=bookbuyer.bookbuyer.cluster.local");
    expect(certificate.subjectAltName).toBe(
      "DNS:bookbuyer.bookbuyer.cluster.local, URI:spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer",
    );
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect(Date.parse(certificate.validFrom)).toBe(Math.floor((NOW - 5 * MINUTE) / 1000) * 1000);
    expect(Date.parse(certificate.validTo)).toBe(Math.floor((NOW + DAY) / 1000) * 1000);
    expect(issued.notBefore).toBe(Date.parse(certificate.validFrom));
    expect(issued.notAfter).toBe(Date.parse(certificate.validTo));
    expect(issued.issuedAt).toBe(NOW);
    expect(issued.serial).toBe(certificate.serialNumber);
    expect(certificate.checkPrivateKey(issued.privateKey.toKeyObject())).toBe(true);
    const root = authority.bundle.roots[0]!;
    expect(certificate.verify(root.publicKey)).toBe(true);
    expect(certificate.checkIssued(root)).toBe(true);
  });

  test("of a long name has no common name, and its names become critical", async () => {
    const id = identity("n".repeat(63), `${"a".repeat(63)}.${"b".repeat(63)}`);
    const certificate = new peculiar.X509Certificate((await (await startAuthority()).issueWorkload(id)).chainPem);
    expect(certificate.subject).toBe("");
    expect(certificate.getExtension("2.5.29.17")?.critical).toBe(true);
  });

  test("follows a new validity from the next one on, but not one below ten minutes", async () => {
    const authority = await startAuthority({ workloadValidity: HOUR });
    const validity = async () => {
      const { issuedAt, notAfter } = await authority.issueWorkload(bookbuyer);
      return Math.round((notAfter - issuedAt) / MINUTE);
    };
    expect(await validity()).toBe(60);
    expect(authority.setWorkloadValidity(10 * MINUTE)).toBeUndefined();
    expect(await validity()).toBe(10);
    for (const wrong of [9 * MINUTE, 0, -1, Number.NaN])
      expect(authority.setWorkloadValidity(wrong)?.refused).toMatch(/must be ten minutes or more, not/);
    expect(await validity()).toBe(10);
  });

  test("never outlives the root", async () => {
    const clock = new FakeClock(NOW);
    const authority = await startAuthority({ rootValidity: 2 * DAY }, { clock });
    clock.advance(1.5 * DAY);
    expect((await authority.issueWorkload(bookbuyer)).notAfter).toBe(authority.rootNotAfter);
    clock.advance(0.5 * DAY);
    await expect(authority.issueWorkload(bookbuyer)).rejects.toThrow(
      "The root certificate expired on 2031-05-08T07:08:09.000Z. Replace it and restart.",
    );
  });

  test("has a serial of its own of 20 bytes, positive", async () => {
    const authority = await startAuthority();
    const serials = await Promise.all(
      Array.from({ length: 64 }, async () => (await authority.issueWorkload(bookbuyer)).serial),
    );
    expect(new Set(serials).size).toBe(64);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{39}$/);
  });

  test("difference 16: of each stream has a key of its own", async () => {
    const authority = await startAuthority();
    const [one, two] = await Promise.all([authority.issueWorkload(bookbuyer), authority.issueWorkload(bookbuyer)]);
    expect(one.privateKey.revealPem()).not.toBe(two.privateKey.revealPem());
  });

  test("may have an RSA key", async () => {
    const issued = await (await startAuthority({ keys: "rsa-2048" })).issueWorkload(bookbuyer);
    expect(parse(issued).publicKey.asymmetricKeyDetails?.modulusLength).toBe(2048);
    const usage = new peculiar.X509Certificate(issued.chainPem).getExtension(peculiar.KeyUsagesExtension);
    expect(usage?.usages).toBe(peculiar.KeyUsageFlags.digitalSignature | peculiar.KeyUsageFlags.keyEncipherment);
  });

  test.each(["nobody", "/sa", "ns/", "NS/sa", "n.s/sa", "ns/s a", "ns/sa\n", "ns/-sa", "ns/sa/sidecar", "ns/*"])(
    "is not made for %j",
    async (name) => {
      const id = name as typeof bookbuyer;
      await expect((await startAuthority()).issueWorkload(id)).rejects.toThrow(/it is not an identity's name/);
    },
  );
});

describe("a workload that would have the control plane's name", () => {
  test.each([
    ["cluster.local", "svc/osm-controller.heddle-system"],
    ["cluster.local", "svc/osm-validator.heddle-system"],
    // The cluster domain is cluster.local all the same.
    ["local", "cluster/osm-controller.heddle-system.svc"],
  ])("gets no certificate: trust domain %s, %s", async (trustDomain, name) => {
    const authority = await startAuthority({ trustDomain });
    const said =
      /No certificate for .*: its DNS name osm-.*\.heddle-system\.svc\.cluster\.local has the form of a Service's/;
    await expect(authority.issueWorkload(name as typeof bookbuyer)).rejects.toThrow(said);
    await expect(authority.leaf(name as typeof bookbuyer, testSignal())).rejects.toThrow(said);
    expect(authority.refusal(name as typeof bookbuyer)).toMatch(said);
  });

  test.each(["svc/web", "a/svc", "svc/svc", "a/web.svc", "heddle-system/osm-controller", "cluster/ads"])(
    "is not %s",
    async (name) => expect((await startAuthority()).refusal(name as typeof bookbuyer)).toBeUndefined(),
  );

  test.each(["svc", "svc.cluster.local"])("is not made possible by trust domain %s", async (trustDomain) => {
    await expect(startAuthority({ trustDomain })).rejects.toThrow(/must not begin with "svc"/);
  });
});

test("a proxy's certificate has OSM's name in CN and DNS, our URI, and is a client's only", async () => {
  const certificate = parse(await (await startAuthority()).issueSidecar(bookbuyer, UUID));
  const name = `${UUID}.sidecar.bookbuyer.bookbuyer.cluster.local`;
  expect(certificate.subject).toBe(`CN=${name}`);
  expect(certificate.subjectAltName).toBe(
    `DNS:${name}, URI:spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer/sidecar/${UUID}`,
  );
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
  await expect((await startAuthority()).issueSidecar(bookbuyer, "x")).rejects.toThrow(/No certificate for proxy "x"/);
});

test("difference 7: a server's certificate has its DNS names, is a server's only, and lasts 30 days", async () => {
  const authority = await startAuthority();
  const certificate = parse(await authority.issueServer(["ads.cluster.local", "heddle.heddle-system.svc"]));
  expect(certificate.subjectAltName).toBe("DNS:ads.cluster.local, DNS:heddle.heddle-system.svc");
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
  expect(certificate.checkHost("heddle.heddle-system.svc")).toBe("heddle.heddle-system.svc");
  const days = (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / 86_400_000;
  expect(Math.round(days)).toBe(30);
  await expect(authority.issueServer([])).rejects.toThrow(/is not a DNS name/);
  await expect(authority.issueServer(["ok", "Not OK"])).rejects.toThrow('"Not OK" is not a DNS name in lower case');
});

describe("the root", () => {
  test("is made once and then loaded", async () => {
    const store = memoryStore();
    const lines: string[] = [];
    const log = createLog("info", (line) => lines.push(JSON.parse(line).msg));
    const first = await startAuthority({}, { store, log });
    const second = await startAuthority({}, { store, log });
    expect(second.bundle.pem).toBe(first.bundle.pem);
    expect(lines).toEqual([
      "Root certificate made in the test's memory",
      "Root certificate loaded in the test's memory",
    ]);
  });

  test("may sign leaves only and lasts three years", async () => {
    const authority = await startAuthority({}, { clock: new FakeClock(NOW) });
    const [root] = authority.bundle.roots;
    const constraints = new peculiar.X509Certificate(root!.raw).getExtension(peculiar.BasicConstraintsExtension);
    expect(constraints).toMatchObject({ critical: true, ca: true, pathLength: 0 });
    expect(authority.rootNotAfter).toBe(Math.floor((NOW + 3 * 365 * DAY) / 1000) * 1000);
    expect(Date.parse(root!.validTo)).toBe(authority.rootNotAfter);
  });

  test("is warned about when it has less than 30 days", async () => {
    const store = memoryStore();
    const clock = new FakeClock(NOW);
    await startAuthority({ rootValidity: 40 * DAY }, { store, clock });
    const lines: string[] = [];
    const log = createLog("warn", (line) => lines.push(JSON.parse(line).msg));
    clock.advance(5 * DAY);
    await startAuthority({}, { store, clock, log });
    expect(lines).toEqual([]);
    clock.advance(6 * DAY);
    await startAuthority({}, { store, clock, log });
    expect(lines).toEqual([
      "The root certificate in the test's memory expires on 2031-06-15T07:08:09.000Z; it must be replaced before",
    ]);
  });

  const leafAuthority = async () => startAuthority({}, { store: memoryStore(good), clock: new FakeClock(NOW) });

  test.each<[string, () => Promise<{ caCrt: string; caKey: PrivateKey }>, RegExp]>([
    ["empty", async () => ({ ...good, caCrt: "" }), /ca\.crt holds no certificate in PEM/],
    ["cut", async () => ({ ...good, caCrt: good.caCrt.slice(0, -30) }), /ca\.crt holds no certificate in PEM/],
    [
      "broken",
      async () => ({ ...good, caCrt: good.caCrt.replace(/\nMII./, "\nAAAA") }),
      /ca\.crt cannot be read: its certificate is broken/,
    ],
    [
      "followed by half a certificate",
      async () => ({ ...good, caCrt: good.caCrt + other.caCrt.slice(0, 100) }),
      /holds something that is not a whole certificate/,
    ],
    [
      "with a broken key",
      async () => ({ ...good, caKey: new PrivateKey("no") }),
      /private\.key is not a readable private key/,
    ],
    [
      "with another's key",
      async () => ({ ...good, caKey: other.caKey }),
      /private\.key is not the key of the certificate/,
    ],
    [
      "a leaf",
      async () => {
        const leaf = await (await leafAuthority()).issueWorkload(bookbuyer);
        return { caCrt: leaf.chainPem, caKey: leaf.privateKey };
      },
      /cannot be trusted: its certificate is not a CA's/,
    ],
    ["expired", () => makeRoot("ecdsa-p256", DAY, NOW - DAY), /it expired on 2031-05-06T07:08:09\.000Z/],
    [
      "of the future",
      () => makeRoot("ecdsa-p256", DAY, NOW + DAY),
      /only valid from .* \(is this machine's clock right\?\)/,
    ],
  ])("is refused when it is %s", async (_, make, sentence) => {
    const store = memoryStore(await make());
    const start = startAuthority({}, { store, clock: new FakeClock(NOW) });
    await expect(start).rejects.toThrow(sentence);
    await expect(start).rejects.toThrow(
      /^The root certificate in the test's memory cannot be used: .* Put a matching pair/,
    );
  });
});

describe("the trust bundle", () => {
  test("holds the signing root first, then what the store and the settings add, each once", async () => {
    const [old, next, third] = await Promise.all([1, 2, 3].map(() => makeRoot("ecdsa-p256", DAY, Date.now())));
    const store = memoryStore({ caCrt: old!.caCrt + next!.caCrt, caKey: old!.caKey });
    const authority = await startAuthority({ alsoTrust: third!.caCrt + old!.caCrt }, { store });
    expect(authority.bundle.pem).toBe(old!.caCrt + next!.caCrt + third!.caCrt);
    expect(parse(await authority.issueWorkload(bookbuyer)).checkIssued(authority.bundle.roots[0]!)).toBe(true);
    expect(authority.bundle.with(authority.bundle.roots).pem).toBe(authority.bundle.pem);
  });

  test("takes CA certificates only", async () => {
    const { chainPem } = await (await startAuthority()).issueWorkload(bookbuyer);
    await expect(startAuthority({ alsoTrust: chainPem })).rejects.toThrow(
      "The text of further roots to trust cannot be trusted: its certificate is not a CA's.",
    );
    await expect(startAuthority({ alsoTrust: "nothing" })).rejects.toThrow(/holds no certificate in PEM/);
  });
});

test.each<[Partial<Parameters<typeof Authority.start>[0]>, RegExp]>([
  [{ trustDomain: "Cluster.Local" }, /The trust domain "Cluster\.Local" is not a DNS name/],
  [{ trustDomain: "" }, /The trust domain "" is not a DNS name/],
  [{ workloadValidity: 5 * MINUTE }, /ten minutes or more, not 5 minutes/],
  [{ controlPlaneValidity: Number.NaN }, /control-plane certificates must be ten minutes or more/],
  [{ rootValidity: HOUR }, /root's validity must not be shorter/],
  [{ keys: "rsa-1024" as "rsa-2048" }, /must be one of ecdsa-p256, rsa-2048/],
  [{ concurrency: 0 }, /must be 1 or more/],
])("the settings %j are refused with a sentence", async (settings, sentence) => {
  await expect(startAuthority(settings)).rejects.toThrow(sentence);
});

test("a storm of a thousand streams makes two keys at a time and leaves the event loop its turns", async () => {
  let issued = 0;
  const authority = await startAuthority({}, { issued: () => issued++ });
  let turns = 0;
  let storm = true;
  const turn = () => {
    turns++;
    if (storm) setImmediate(turn);
  };
  setImmediate(turn);
  const streams = Array.from({ length: 1_000 }, () => new AbortController());
  const leaves = await Promise.all(
    streams.map((stream, index) => authority.leaf(identity("ns", `sa-${index}`), stream.signal)),
  );
  storm = false;
  expect(issued).toBe(1_000);
  expect(new Set(leaves.map((leaf) => leaf.current.serial)).size).toBe(1_000);
  expect(authority.load).toEqual({ waiting: 0, peak: 2, scheduled: 1_000 });
  // At most two certificates are finished between two turns; each takes at least two trips to the pool.
  expect(turns).toBeGreaterThan(500);
  for (const stream of streams) stream.abort();
  expect(authority.load.scheduled).toBe(0);
});

test("a stream that goes away while it waits leaves the line, and costs no key", async () => {
  let issued = 0;
  const authority = await startAuthority({ concurrency: 1 }, { issued: () => issued++ });
  const gone = new AbortController();
  const first = authority.leaf(bookbuyer, testSignal());
  const waiting = authority.leaf(bookbuyer, gone.signal);
  const last = authority.leaf(bookbuyer, testSignal());
  expect(authority.load.waiting).toBe(2);
  gone.abort(new Error("stream closed"));
  expect(authority.load.waiting).toBe(1);
  await expect(waiting).rejects.toThrow("stream closed");
  await Promise.all([first, last]);
  expect(issued).toBe(2);
  await expect(authority.leaf(bookbuyer, gone.signal)).rejects.toThrow("stream closed");
});

test("keys are made without blocking: key generation has no synchronous form here", async () => {
  let finished = false;
  const making = makeKeyPair("rsa-3072").then(() => (finished = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(finished).toBe(false);
  await making;
});
