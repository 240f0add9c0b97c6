/** The webhook server over real HTTPS: every request is answered, in time, and without more than it may cost. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import { connect } from "node:net";
import { connect as tlsConnect, type TLSSocket } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  openAdmission,
  type AdmissionListener,
  type AdmissionOptions,
  type AdmissionRequest,
  type Webhook,
} from "../../../src/admission.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { once } from "node:events";
import { FakeClock } from "../../support/clock.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- JSON
type Loose = any;

let directory: string;
const issue = (name: string) => {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync("openssl", ["req", "-x509", ...key, ...subject, "-keyout", `${name}.key`, "-out", `${name}.pem`], {
    cwd: directory,
    stdio: "ignore",
  });
  return {
    certificate: readFileSync(join(directory, `${name}.pem`)),
    privateKey: readFileSync(join(directory, `${name}.key`)),
  };
};
let first: ReturnType<typeof issue>;
let second: ReturnType<typeof issue>;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "heddle-admission-"));
  [first, second] = [issue("first.test"), issue("second.test")];
});
afterAll(() => rmSync(directory, { recursive: true }));

let listener: AdmissionListener | undefined;
let agent: Agent;
afterEach(async () => {
  agent.destroy();
  await listener?.close(0);
  listener = undefined;
});

const counted: [string, boolean][] = [];
async function open(webhooks: readonly Webhook[], over: Partial<AdmissionOptions> = {}): Promise<void> {
  agent = new Agent({ keepAlive: true, maxSockets: 16, rejectUnauthorized: false });
  counted.length = 0;
  listener = await openAdmission({
    host: "127.0.0.1",
    port: 0,
    credentials: first,
    webhooks,
    log: silent,
    counted: (kind, success) => counted.push([kind, success]),
    ...over,
  });
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly review: Loose;
}
function ask(path: string, body: string | undefined, options: RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(
      {
        host: "127.0.0.1",
        port: listener!.port,
        path,
        method: "POST",
        agent,
        headers: { "content-type": "application/json" },
        ...options,
      },
      (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => {
          const json = response.headers["content-type"] === "application/json";
          resolve({ status: response.statusCode ?? 0, body: text, review: json ? JSON.parse(text) : undefined });
        });
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

const review = (over: Loose = {}): Loose => ({
  apiVersion: "admission.k8s.io/v1",
  kind: "AdmissionReview",
  request: {
    uid: "uid-1",
    operation: "CREATE",
    kind: { group: "", version: "v1", kind: "Pod" },
    namespace: "shop",
    name: "",
    object: { metadata: {} },
    ...over,
  },
});
const hook = (answer: Webhook["answer"], otherwise: Webhook["otherwise"] = "refuse"): Webhook => ({
  path: "/hook",
  answer,
  otherwise,
});

describe("a review", () => {
  test("is handed on whole, and answered in the API server's form", async () => {
    const seen: AdmissionRequest[] = [];
    await open([
      hook(
        (request) => (
          seen.push(request),
          { allowed: true, patch: [{ op: "add", path: "/a", value: "ü" }], warnings: ["w\nx"] }
        ),
      ),
    ]);
    const { status, review: answer } = await ask(
      "/hook?timeout=10s",
      JSON.stringify(review({ dryRun: true, oldObject: null })),
    );
    expect(status).toBe(200);
    expect(seen).toEqual([
      {
        uid: "uid-1",
        operation: "CREATE",
        kind: { group: "", version: "v1", kind: "Pod" },
        namespace: "shop",
        name: "",
        object: { metadata: {} },
        oldObject: null,
        dryRun: true,
      },
    ]);
    const { patch, ...response } = answer.response;
    expect(JSON.parse(Buffer.from(patch, "base64").toString("utf8"))).toEqual([{ op: "add", path: "/a", value: "ü" }]);
    expect({ ...answer, response }).toEqual({
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
      response: { uid: "uid-1", allowed: true, patchType: "JSONPatch", warnings: ["w x"] },
    });
    expect(counted).toEqual([["Pod", true]]);
  });

  test("without a change has no patch, and a refusal has a status", async () => {
    await open([
      hook(({ name }) =>
        name === "bad"
          ? { allowed: false, message: "no.", code: 422, patch: [{}] }
          : { allowed: true, patch: [], warnings: [] },
      ),
    ]);
    expect((await ask("/hook", JSON.stringify(review()))).review.response).toEqual({ uid: "uid-1", allowed: true });
    expect((await ask("/hook", JSON.stringify(review({ name: "bad" })))).review.response).toEqual({
      uid: "uid-1",
      allowed: false,
      status: { code: 422, message: "no." },
    });
    expect(counted).toEqual([
      ["Pod", true],
      ["Pod", false],
    ]);
  });

  test("long and many warnings are cut as Kubernetes asks", async () => {
    await open([hook(() => ({ allowed: true, warnings: Array.from({ length: 40 }, () => "😀".repeat(300)) }))]);
    const { warnings } = (await ask("/hook", JSON.stringify(review()))).review.response;
    expect(warnings).toHaveLength(15);
    for (const warning of warnings) expect(warning.length).toBeLessThanOrEqual(256);
  });

  test.each(["refuse", "allow"] as const)("that makes us fail is answered: %s", async (otherwise) => {
    await open([
      hook(() => {
        throw new Error("a secret");
      }, otherwise),
    ]);
    const { status, review: answer, body } = await ask("/hook", JSON.stringify(review()));
    expect([status, answer.response.allowed]).toEqual([200, otherwise === "allow"]);
    expect(body).not.toContain("secret");
    expect(counted).toEqual([["Pod", false]]);
  });

  test("that takes too long is answered in time, also when only the API server is in a hurry", async () => {
    await open([hook(() => new Promise(() => {}))]);
    const before = performance.now();
    expect((await ask("/hook?timeout=1s", JSON.stringify(review()))).review.response).toMatchObject({
      allowed: false,
      status: { code: 500 },
    });
    expect(performance.now() - before).toBeLessThan(1000);
  });

  test("kinds are counted under so many names only", async () => {
    await open([hook(() => ({ allowed: true }))]);
    for (let i = 0; i < 60; i++)
      await ask("/hook", JSON.stringify(review({ kind: { group: "", version: "v1", kind: `K${i}` } })));
    expect(new Set(counted.map(([kind]) => kind)).size).toBe(51);
  });
});

describe("what is no review is told so, with a sentence", () => {
  test.each<[string, string, number]>([
    ["no JSON", "{", 400],
    ["nothing", "", 400],
    ["a number", "5", 400],
    ["null", "null", 400],
    ["another kind", JSON.stringify({ ...review(), kind: "Pod" }), 400],
    ["another version", JSON.stringify({ ...review(), apiVersion: "admission.k8s.io/v2" }), 400],
    ["no request", JSON.stringify({ ...review(), request: [] }), 400],
    ["no uid", JSON.stringify(review({ uid: 5 })), 400],
    ["another operation", JSON.stringify(review({ operation: "PATCH" })), 400],
    ["too much", " ".repeat(3 * 1024 * 1024 + 1), 413],
  ])("%s", async (_name, body, status) => {
    await open([hook(() => ({ allowed: true }))]);
    const answer = await ask("/hook", body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatch(/^The review is not answered: .{10,}\.\n$/);
    // And the next one is answered as ever.
    expect((await ask("/hook", JSON.stringify(review()))).status).toBe(200);
  });

  test("too much in pieces, too", async () => {
    await open([hook(() => ({ allowed: true }))]);
    const answer = await ask("/hook", " ".repeat(3 * 1024 * 1024 + 1), { headers: { "transfer-encoding": "chunked" } });
    expect(answer.status).toBe(413);
  });

  test("another path, another method, and a look at the server's health", async () => {
    await open([hook(() => ({ allowed: true }))]);
    expect((await ask("/other", JSON.stringify(review()))).status).toBe(404);
    expect((await ask("/hook", undefined, { method: "GET" })).status).toBe(405);
    expect((await ask("/healthz", undefined, { method: "GET" })).status).toBe(200);
  });

  test("beside other work reviews are looked at one by one, and as long as one took belongs to that work", async () => {
    const clock = new FakeClock();
    const begun: number[] = [];
    const look = hook(() => {
      begun.push(clock.now());
      clock.advance(30);
      return { allowed: true };
    });
    await open([look], { besides: true, clock });
    const answers = ["a", "b", "c"].map((uid) => ask("/hook", JSON.stringify(review({ uid }))));
    await clock.until(() => begun.length === 3);
    expect(begun).toEqual([0, 60, 120]);
    await Promise.all(answers);
  });

  test("a body that does not arrive is given up", async () => {
    await open([hook(() => ({ allowed: true }))], { limits: { time: 300 } });
    const socket = tlsConnect({ host: "127.0.0.1", port: listener!.port, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    socket.write("POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    const [data] = await once(socket, "data");
    expect(String(data)).toMatch(/^HTTP\/1.1 408/);
    socket.destroy();
  });
});

test("so many at once, so many in line, the others are told to come again", async () => {
  const waiting: (() => void)[] = [];
  let inside = 0;
  let most = 0;
  const entered: (() => void)[] = [];
  await open(
    [
      hook(async () => {
        most = Math.max(most, ++inside);
        entered.shift()?.();
        await new Promise<void>((go) => waiting.push(go));
        inside--;
        return { allowed: true };
      }),
    ],
    { limits: { concurrent: 2, waiting: 2 } },
  );
  const both = Promise.all([0, 1].map(() => new Promise<void>((done) => entered.push(done))));
  const send = () => ask("/hook", JSON.stringify(review()));
  const early = [send(), send()];
  await both;
  const rest = [send(), send(), send(), send()];
  // Two of the four are refused at once; the line moves when those inside have gone.
  const refused = await Promise.all(
    [0, 1].map(async () => {
      const index = await Promise.race(rest.map((one, i) => one.then(() => i)));
      const answer = await rest[index]!;
      void rest.splice(index, 1);
      return answer.status;
    }),
  );
  expect(refused).toEqual([503, 503]);
  const next = Promise.all([0, 1].map(() => new Promise<void>((done) => entered.push(done))));
  for (const go of waiting.splice(0)) go();
  await next;
  for (const go of waiting.splice(0)) go();
  expect((await Promise.all([...early, ...rest])).map((answer) => answer.status)).toEqual([200, 200, 200, 200]);
  expect(most).toBe(2);
});

test("a new certificate is seen by new connections, and a wrong one is not taken", async () => {
  await open([hook(() => ({ allowed: true }))]);
  const shown = async () => {
    const socket: TLSSocket = tlsConnect({ host: "127.0.0.1", port: listener!.port, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return CN;
  };
  expect(await shown()).toBe("first.test");
  const kept = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
  expect((await ask("/hook", JSON.stringify(review()), { agent: kept })).status).toBe(200);
  listener!.rotate(second);
  expect(await shown()).toBe("second.test");
  expect((await ask("/hook", JSON.stringify(review()), { agent: kept })).status).toBe(200);
  kept.destroy();
  expect(() => listener!.rotate({ certificate: first.certificate, privateKey: second.privateKey })).toThrow();
  expect(await shown()).toBe("second.test");
});

test("closing lets an answer that is being made go out", async () => {
  let go = (): void => {};
  const started = Promise.withResolvers<void>();
  await open([
    hook(async () => {
      started.resolve();
      await new Promise<void>((resolve) => (go = resolve));
      return { allowed: true };
    }),
  ]);
  const answer = ask("/hook", JSON.stringify(review()), { agent: false, rejectUnauthorized: false });
  await started.promise;
  const closed = listener!.close(10_000);
  listener = undefined;
  go();
  expect((await answer).status).toBe(200);
  await closed;
});

test("hole: who trickles reviews lets nobody wait, and is ended", async () => {
  await open([{ path: "/mutate", otherwise: "refuse", answer: () => ({ allowed: true }) }], {
    limits: { concurrent: 4, waiting: 4 },
  });
  const slow = await Promise.all(
    Array.from({ length: 300 }, async () => {
      const socket = tlsConnect({ host: "127.0.0.1", port: listener!.port, rejectUnauthorized: false });
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      socket.write("POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{");
      return socket;
    }),
  );
  const ended = Promise.all(slow.map((socket) => once(socket.resume(), "close")));
  const from = { localAddress: "127.0.0.2" };
  for (let i = 0; i < 8; i++) expect((await ask("/mutate", JSON.stringify(review()), from)).status).toBe(200);
  await ended;
});

test("hole: one address has not all connections", async () => {
  await open([{ path: "/mutate", otherwise: "refuse", answer: () => ({ allowed: true }) }]);
  const sockets = Array.from({ length: 450 }, () => {
    const socket = connect({ host: "127.0.0.1", port: listener!.port });
    socket.on("error", () => {});
    return socket;
  });
  const refused = new Promise<void>((resolve) => {
    let count = 0;
    for (const socket of sockets) socket.once("close", () => ++count === 50 && resolve());
  });
  await refused;
  const from = { localAddress: "127.0.0.2" };
  expect((await ask("/mutate", JSON.stringify(review()), from)).status).toBe(200);
  for (const socket of sockets) socket.destroy();
});
