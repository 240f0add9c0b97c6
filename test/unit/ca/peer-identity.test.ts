import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { makeKeyPair, signerOf, type Signer } from "../../../src/ca/keys.ts";
import { peerIdentity } from "../../../src/ca/peer-identity.ts";
import { encodeName, signCertificate, type AltName, type Template } from "../../../src/ca/x509.ts";
import { read, sequence } from "../../../src/ca/der.ts";
import { identity } from "../../../src/world/names.ts";
import { DAY, startAuthority, UUID } from "./support.ts";

const pair = await makeKeyPair("ecdsa-p256");
const signer = signerOf(pair.privateKey.toKeyObject()) as Signer;
const dns = (value: string): AltName => ({ kind: "dns", value });
const uri = (value: string): AltName => ({ kind: "uri", value });

/** A certificate with these names, whatever they are. TLS would have checked the chain. */
async function certificate(commonName: string | undefined, altNames: AltName[], more: Partial<Template> = {}) {
  const template: Template = {
    issuer: encodeName({ commonName: "osm-ca.openservicemesh.io" }),
    subject: encodeName(commonName === undefined ? {} : { commonName, organization: "Open Service Mesh" }),
    publicKey: pair.publicKey,
    notBefore: Date.now() - DAY,
    notAfter: Date.now() + DAY,
    ca: false,
    keyUsage: ["digitalSignature"],
    extendedKeyUsage: ["serverAuth", "clientAuth"],
    altNames,
    ...more,
  };
  return new X509Certificate((await signCertificate(template, signer)).der);
}

const osm = (name: string) => certificate(name, [dns(name)]);
const NAME = `${UUID}.sidecar.bookbuyer.books.cluster.local`;
const URI = `spiffe://cluster.local/ns/books/sa/bookbuyer/sidecar/${UUID}`;

describe("accepted", () => {
  test.each<[string, string, string]>([
    ["OSM's form", NAME, "books/bookbuyer"],
    ["OSM's form of a ServiceAccount with dots", `${UUID}.sidecar.a.b.c.books.cluster.local`, "books/a.b.c"],
    [
      "OSM's form of a ServiceAccount named like a proxy",
      `${UUID}.sidecar.${UUID}.sidecar.admin.books.cluster.local`,
      `books/${UUID}.sidecar.admin`,
    ],
    [
      "OSM's form of a ServiceAccount named like the trust domain",
      `${UUID}.sidecar.cluster.local.cluster.local`,
      "local/cluster",
    ],
  ])("%s", async (_, name, id) => {
    expect(peerIdentity(await osm(name), "cluster.local")).toEqual({ identity: id, uuid: UUID });
  });

  test.each(["bookbuyer", "a.b.c", `${UUID}.sidecar.admin`])(
    "what we issue to a proxy of ServiceAccount %s",
    async (sa) => {
      const id = identity("books", sa);
      const issued = await (await startAuthority()).issueSidecar(id, UUID);
      const options = { osmForm: false };
      expect(peerIdentity(new X509Certificate(issued.chainPem), "cluster.local", options)).toEqual({
        identity: id,
        uuid: UUID,
      });
    },
  );
});

describe("refused", () => {
  test.each<[string, () => Promise<X509Certificate>, RegExp]>([
    [
      "another trust domain",
      () => osm(NAME.replace("cluster.local", "evil.local")),
      /is not in the trust domain cluster\.local/,
    ],
    [
      "a trust domain that only ends alike",
      () => osm(NAME.replace(".cluster.local", "xcluster.local")),
      /is not in the trust domain/,
    ],
    ["no UUID", () => osm("x.sidecar.bookbuyer.books.cluster.local"), /is not of the form <uuid>\.sidecar/],
    ["a UUID in upper case", () => osm(NAME.replace(UUID, UUID.toUpperCase())), /is not of the form/],
    ["another kind of proxy", () => osm(NAME.replace("sidecar", "gateway")), /is not of the form/],
    ["no ServiceAccount", () => osm(`${UUID}.sidecar.books.cluster.local`), /is not of the form/],
    ["nothing but the trust domain", () => osm("cluster.local"), /is not in the trust domain/],
    ["an empty label", () => osm(`${UUID}.sidecar..books.cluster.local`), /is not of the form/],
    ["an empty namespace", () => osm(`${UUID}.sidecar.bookbuyer..cluster.local`), /is not of the form/],
    ["upper case", () => osm(`${UUID}.sidecar.BookBuyer.books.cluster.local`), /is not of the form/],
    ["a wildcard", () => osm(`${UUID}.sidecar.*.books.cluster.local`), /is not of the form/],
    ["a slash", () => osm(`${UUID}.sidecar.a/b.books.cluster.local`), /is not of the form/],
    [
      "a namespace that is too long",
      () => osm(`${UUID}.sidecar.sa.${"n".repeat(64)}.cluster.local`),
      /is not of the form/,
    ],
    ["a trailing dot", () => osm(`${NAME}.`), /is not in the trust domain/],
    ["no names at all", () => certificate(undefined, []), /must have exactly one DNS name/],
    ["a common name alone", () => certificate(NAME, []), /must have exactly one DNS name/],
    ["two DNS names", () => certificate(NAME, [dns(NAME), dns("x")]), /must have exactly one DNS name/],
    ["two URIs", () => certificate(NAME, [dns(NAME), uri(URI), uri(URI)]), /must have exactly one DNS name/],
    ["no common name", () => certificate(undefined, [dns(NAME)]), /its common name must be its DNS name/],
    [
      "another common name",
      () => certificate(NAME.replace("bookbuyer", "admin"), [dns(NAME)]),
      /its common name must be/,
    ],
    [
      "two common names",
      () => {
        const parts = [NAME, "x"].map((commonName) => read(encodeName({ commonName })).content);
        const subject = sequence(...parts);
        return certificate(NAME, [dns(NAME)], { subject });
      },
      /its common name must be/,
    ],
    [
      "a URI of another proxy",
      () => certificate(NAME, [dns(NAME), uri(URI.replace("0f1e", "ffff"))]),
      /does not name the proxy/,
    ],
    [
      "a URI of another identity",
      () => certificate(NAME, [dns(NAME), uri(URI.replace("bookbuyer", "admin"))]),
      /does not name/,
    ],
    [
      "a URI of another trust domain",
      () => certificate(NAME, [dns(NAME), uri(URI.replace("cluster", "evil"))]),
      /does not name/,
    ],
    [
      "a workload's URI",
      () => certificate(NAME, [dns(NAME), uri("spiffe://cluster.local/ns/books/sa/bookbuyer")]),
      /does not name/,
    ],
    [
      "a CA's certificate",
      () => certificate(NAME, [dns(NAME)], { ca: true, keyUsage: ["keyCertSign"] }),
      /it is a CA's/,
    ],
    [
      "a server's certificate",
      () => certificate(NAME, [dns(NAME)], { extendedKeyUsage: ["serverAuth"] }),
      /not meant for clients/,
    ],
  ])("%s", async (_, make, sentence) => {
    const verdict = peerIdentity(await make(), "cluster.local");
    expect(verdict).toEqual({ refused: expect.stringMatching(sentence) as string });
    expect((verdict as { refused: string }).refused).toMatch(/^The client certificate is refused: .*\.$/);
  });

  test("a name of another kind beside the right one", async () => {
    const good = await certificate(NAME, [dns(NAME), uri("a:b")]);
    // The URI's tag becomes that of an e-mail address; the signature is not what is looked at here.
    const bytes = Buffer.from(good.raw);
    bytes[bytes.indexOf("a:b") - 2] = 0x81;
    expect(peerIdentity(new X509Certificate(bytes), "cluster.local")).toEqual({
      refused: expect.stringMatching(/no other alternative name/) as string,
    });
  });

  test.each(["cluster.local", "m.io"])("a workload that is named like a proxy of admin, in %s", async (trustDomain) => {
    const authority = await startAuthority({ trustDomain });
    const leaf = await authority.issueWorkload(identity("ns", `${UUID}.sidecar.admin`));
    const peer = new X509Certificate(leaf.chainPem);
    expect(peer.subjectAltName).toContain(`DNS:${UUID}.sidecar.admin.ns.${trustDomain}`);
    expect(peerIdentity(peer, trustDomain)).toHaveProperty("refused");
  });

  test("a workload of the plain kind, and one of our servers", async () => {
    const authority = await startAuthority();
    const leaf = await authority.issueWorkload(identity("books", "x.sidecar.admin"));
    expect(peerIdentity(new X509Certificate(leaf.chainPem), "cluster.local")).toHaveProperty("refused");
    const server = await authority.issueServer([NAME]);
    expect(peerIdentity(new X509Certificate(server.chainPem), "cluster.local")).toHaveProperty("refused");
  });

  test("OSM's form where it is switched off", async () => {
    expect(peerIdentity(await osm(NAME), "cluster.local", { osmForm: false })).toEqual({
      refused: "The client certificate is refused: it has no URI, and OSM's form is not accepted here.",
    });
  });

  test("without letting the peer's characters into the log", async () => {
    const evil = `${"x".repeat(5_000)}"`;
    const { refused } = peerIdentity(await certificate(evil, [dns(evil)]), "cluster.local") as {
      refused: string;
    };
    expect(refused.length).toBeLessThan(500);
    const common = await certificate("line\nbreak", [dns("a.b")]);
    expect((peerIdentity(common, "cluster.local") as { refused: string }).refused).not.toContain("\n");
  });
});
