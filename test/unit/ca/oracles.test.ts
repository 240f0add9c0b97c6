/** openssl and @peculiar/x509 say what they think of our certificates; neither shares code with what made them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createServer, connect, type TLSSocket } from "node:tls";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import * as peculiar from "./peculiar.ts";
import { expect, test } from "vitest";
import { KEY_KINDS, type KeyKind } from "../../../src/ca/keys.ts";
import { peerIdentity } from "../../../src/ca/peer-identity.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { identity } from "../../../src/world/names.ts";
import { file, memoryStore, openssl, opensslTest, osmRoot, startAuthority, testDirectory, UUID } from "./support.ts";

const bookbuyer = identity("bookbuyer", "bookbuyer");

/** Extensions as `openssl x509 -text` prints them: name and criticality → value on one line. */
function extensions(path: string): Record<string, string> {
  const text = openssl("x509", "-in", path, "-noout", "-text", "-certopt", "no_pubkey,no_sigdump,no_header");
  const found = [...text.matchAll(/^ {12}(X509v3 [^:]+): ?(critical)?\n((?: {16}.*\n?)+)/gm)];
  return Object.fromEntries(
    found.map(([, name, critical = "", value]) => [`${name} ${critical}`.trim(), value!.trim().replace(/\s+/g, " ")]),
  );
}

const verify = (ca: string, purpose: string, path: string, ...more: string[]): string =>
  openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", ca, "-purpose", purpose, ...more, path);

const cheap: readonly KeyKind[] = KEY_KINDS.filter((kind) => !kind.startsWith("rsa-4"));

opensslTest.each(cheap)(
  "openssl: chain and extensions of root, workload, proxy and server with %s keys",
  async (keys) => {
    const authority = await startAuthority({ keys });
    const directory = testDirectory();
    const put = async (name: string, issued: Promise<{ chainPem: string }>) =>
      file(directory, name, (await issued).chainPem);
    const ca = file(directory, "ca.pem", authority.bundle.pem);
    const workload = await put("workload.pem", authority.issueWorkload(bookbuyer));
    const sidecar = await put("sidecar.pem", authority.issueSidecar(bookbuyer, UUID));
    const server = await put("server.pem", authority.issueServer(["ads.cluster.local"]));
    const long = await put("long.pem", authority.issueWorkload(identity("ns", "s".repeat(63))));

    expect(verify(ca, "sslserver", ca, "-purpose", "any")).toMatch(/: OK/);
    for (const path of [workload, long]) {
      expect(verify(ca, "sslclient", path)).toMatch(/: OK/);
      expect(verify(ca, "sslserver", path)).toMatch(/: OK/);
    }
    expect(verify(ca, "sslserver", workload, "-verify_hostname", "bookbuyer.bookbuyer.cluster.local")).toMatch(/: OK/);
    expect(verify(ca, "sslclient", sidecar)).toMatch(/: OK/);
    expect(() => verify(ca, "sslserver", sidecar)).toThrow(
      /unsuitable certificate purpose|unsupported certificate purpose/,
    );
    expect(verify(ca, "sslserver", server)).toMatch(/: OK/);
    expect(() => verify(ca, "sslclient", server)).toThrow(
      /unsuitable certificate purpose|unsupported certificate purpose/,
    );

    const root = extensions(ca);
    const rootKeyId = root["X509v3 Subject Key Identifier"]!;
    expect(rootKeyId).toMatch(/^([0-9A-F]{2}:){19}[0-9A-F]{2}$/);
    expect(root).toEqual({
      "X509v3 Basic Constraints critical": "CA:TRUE, pathlen:0",
      "X509v3 Key Usage critical": "Certificate Sign, CRL Sign",
      "X509v3 Subject Key Identifier": rootKeyId,
    });
    const common = {
      "X509v3 Basic Constraints critical": "CA:FALSE",
      "X509v3 Key Usage critical": keys === "ecdsa-p256" ? "Digital Signature" : "Digital Signature, Key Encipherment",
      "X509v3 Subject Key Identifier": expect.stringMatching(/^([0-9A-F]{2}:){19}[0-9A-F]{2}$/) as string,
      "X509v3 Authority Key Identifier": rootKeyId,
    };
    expect(extensions(workload)).toEqual({
      ...common,
      "X509v3 Extended Key Usage": "TLS Web Server Authentication, TLS Web Client Authentication",
      "X509v3 Subject Alternative Name":
        "DNS:bookbuyer.bookbuyer.cluster.local, URI:spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer",
    });
    expect(extensions(sidecar)).toEqual({
      ...common,
      "X509v3 Extended Key Usage": "TLS Web Client Authentication",
      "X509v3 Subject Alternative Name": `DNS:${UUID}.sidecar.bookbuyer.bookbuyer.cluster.local, URI:spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer/sidecar/${UUID}`,
    });
    expect(extensions(server)).toEqual({
      ...common,
      "X509v3 Extended Key Usage": "TLS Web Server Authentication",
      "X509v3 Subject Alternative Name": "DNS:ads.cluster.local",
    });
    expect(extensions(long)["X509v3 Subject Alternative Name critical"]).toMatch(
      /^DNS:s{63}\.ns\.cluster\.local, URI:/,
    );
  },
);

opensslTest("openssl: another authority's certificate does not verify", async () => {
  const [one, two] = await Promise.all([startAuthority(), startAuthority()]);
  const directory = testDirectory();
  const ca = file(directory, "ca.pem", one.bundle.pem);
  const stranger = file(directory, "stranger.pem", (await two.issueWorkload(bookbuyer)).chainPem);
  expect(() => verify(ca, "sslclient", stranger)).toThrow(/unable to get local issuer certificate|verification failed/);
});

opensslTest.each<[string, string[]]>([
  ["as it is", []],
  [
    "without a subject key identifier",
    ["-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"],
  ],
])("OSM's RSA root, made by openssl, is adopted (%s)", async (_, more) => {
  const directory = testDirectory();
  const paths = osmRoot(directory, ...more);
  const caCrt = readFileSync(paths.caCrt, "utf8");
  expect(openssl("x509", "-in", paths.caCrt, "-noout", "-ext", "subjectAltName")).not.toContain("DNS");
  const store = memoryStore({ caCrt, caKey: new PrivateKey(readFileSync(paths.caKey, "utf8")) });
  const authority = await startAuthority({}, { store });
  expect(authority.bundle.pem).toBe(caCrt);
  const leaf = await authority.issueWorkload(bookbuyer);
  const path = file(directory, "leaf.pem", leaf.chainPem);
  const strict = more.length === 0 ? ["-x509_strict"] : [];
  for (const purpose of ["sslclient", "sslserver"])
    expect(openssl("verify", ...strict, "-CAfile", paths.caCrt, "-purpose", purpose, path)).toMatch(/: OK/);
  const text = openssl("x509", "-in", path, "-noout", "-text");
  expect(text).toContain("Signature Algorithm: sha256WithRSAEncryption");
  expect(text).toContain("Public-Key: (256 bit)");
  const issuer = ["-noout", "-issuer", "-nameopt", "RFC2253"];
  expect(openssl("x509", "-in", path, ...issuer)).toBe(openssl("x509", "-in", paths.caCrt, ...issuer));
  expect(
    await new peculiar.X509Certificate(leaf.chainPem).verify({
      publicKey: new peculiar.X509Certificate(caCrt).publicKey,
    }),
  ).toBe(true);
});

opensslTest("a key in OpenSSL's older form (PKCS #1) and roots with ECDSA P-384 are adopted", async () => {
  const directory = testDirectory();
  const { caCrt, caKey } = osmRoot(directory);
  const old = openssl("rsa", "-in", caKey, "-traditional");
  expect(old).toContain("BEGIN RSA PRIVATE KEY");
  await startAuthority({}, { store: memoryStore({ caCrt: readFileSync(caCrt, "utf8"), caKey: new PrivateKey(old) }) });

  const [key, crt] = [join(directory, "384.key"), join(directory, "384.crt")];
  openssl(
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-384",
    "-nodes",
    "-subj",
    "/CN=p384",
    "-addext",
    "keyUsage=critical,keyCertSign",
    "-keyout",
    key,
    "-out",
    crt,
  );
  const store = memoryStore({
    caCrt: readFileSync(crt, "utf8"),
    caKey: new PrivateKey(readFileSync(key, "utf8")),
  });
  const leaf = await (await startAuthority({}, { store })).issueWorkload(bookbuyer);
  expect(verify(crt, "sslserver", file(directory, "leaf.pem", leaf.chainPem))).toMatch(/: OK/);
});

opensslTest.each<[string, string[], RegExp]>([
  ["RSA of 1024 bits", ["-newkey", "rsa:1024"], /private\.key cannot sign certificates: it is an RSA key of 1024 bits/],
  [
    "Ed25519",
    ["-newkey", "ed25519"],
    /it is a key of the kind ed25519, and only RSA and ECDSA with P-256 or P-384 are supported/,
  ],
])("a root with %s is refused", async (_, newKey, sentence) => {
  const directory = testDirectory();
  const [key, crt] = [join(directory, "key"), join(directory, "crt")];
  openssl("req", "-x509", ...newKey, "-nodes", "-subj", "/CN=weak", "-keyout", key, "-out", crt);
  const store = memoryStore({
    caCrt: readFileSync(crt, "utf8"),
    caKey: new PrivateKey(readFileSync(key, "utf8")),
  });
  await expect(startAuthority({}, { store })).rejects.toThrow(sentence);
});

opensslTest("an intermediate CA is refused", async () => {
  const directory = testDirectory();
  const { caCrt, caKey } = osmRoot(directory);
  const [key, csr] = [join(directory, "sub.key"), join(directory, "sub.csr")];
  openssl(
    "req",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-subj",
    "/CN=sub",
    "-keyout",
    key,
    "-out",
    csr,
  );
  const extfile = file(directory, "ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n");
  const sub = openssl("x509", "-req", "-in", csr, "-CA", caCrt, "-CAkey", caKey, "-extfile", extfile);
  const store = memoryStore({ caCrt: sub, caKey: new PrivateKey(readFileSync(key, "utf8")) });
  await expect(startAuthority({}, { store })).rejects.toThrow(
    /is not self-signed, and intermediate CAs are not supported/,
  );
});

test("@peculiar/x509: signatures, chain, names and key identifiers are right", async () => {
  const authority = await startAuthority();
  const root = new peculiar.X509Certificate(authority.bundle.pem);
  const leaf = new peculiar.X509Certificate((await authority.issueWorkload(bookbuyer)).chainPem);
  expect(await root.isSelfSigned()).toBe(true);
  expect(await leaf.verify({ publicKey: root.publicKey })).toBe(true);
  const chain = await new peculiar.X509ChainBuilder({ certificates: [root] }).build(leaf);
  expect(chain.map((link) => link.subject)).toEqual([leaf.subject, root.subject]);
  const rootKeyId = root.getExtension(peculiar.SubjectKeyIdentifierExtension)?.keyId;
  expect(leaf.getExtension(peculiar.AuthorityKeyIdentifierExtension)?.keyId).toBe(rootKeyId);
  expect(leaf.getExtension(peculiar.SubjectAlternativeNameExtension)?.names.toJSON()).toEqual([
    { type: "dns", value: "bookbuyer.bookbuyer.cluster.local" },
    { type: "url", value: "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer" },
  ]);
});

test("TLS: a server takes a proxy's certificate, knows it by it, and refuses that of another root", async () => {
  const authority = await startAuthority();
  const stranger = await startAuthority();
  const credentials = (issued: { chainPem: string; privateKey: PrivateKey }) => ({
    cert: issued.chainPem,
    key: issued.privateKey.revealPem(),
  });
  const server = createServer({
    ...credentials(await authority.issueServer(["ads.cluster.local"])),
    ca: authority.bundle.pem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const dial = (issued: { chainPem: string; privateKey: PrivateKey }) =>
    connect({
      port,
      host: "127.0.0.1",
      servername: "ads.cluster.local",
      ca: authority.bundle.pem,
      ...credentials(issued),
    });

  let welcomed = 0;
  server.on("secureConnection", () => welcomed++);
  const accepted = once(server, "secureConnection") as Promise<[TLSSocket]>;
  const client = dial(await authority.issueSidecar(bookbuyer, UUID));
  const [socket] = await accepted;
  expect(peerIdentity(socket.getPeerX509Certificate()!, "cluster.local")).toEqual({
    identity: bookbuyer,
    uuid: UUID,
  });
  socket.on("error", () => {});
  client.destroy();

  const refused = once(server, "tlsClientError");
  const wrong = dial(await stranger.issueSidecar(bookbuyer, UUID));
  wrong.on("error", () => {});
  await refused;
  expect(welcomed).toBe(1);
  wrong.destroy();
  server.close();
  await once(server, "close");
});
