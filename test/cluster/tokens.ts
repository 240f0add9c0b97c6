/** Who may open a stream of configuration, with which proof, against the real TokenReview. */
import { createSign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status as Status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeKeyPair } from "../../src/ca/keys.ts";
import { PrivateKey } from "../../src/ca/private-key.ts";
import { makeRoot, readRoot } from "../../src/ca/root.ts";
import { encodeName, signCertificate } from "../../src/ca/x509.ts";
import { until } from "../support/live-mesh.ts";
import { DAY } from "../unit/ca/support.ts";
import { SYSTEM } from "./install.ts";
import { openssl, pki, PODS, SHOP, type Market } from "./market.ts";
import type { Dial, Outcome } from "./xds-dial.ts";

const DOMAIN = "cluster.local";

interface Claims {
  readonly "kubernetes.io": { readonly serviceaccount: { readonly name: string; readonly uid: string } };
}
/** The token says another name of its account, in both places. */
const ofStore = ({ "kubernetes.io": bound }: Claims): object => ({
  sub: `system:serviceaccount:${SHOP}:store`,
  "kubernetes.io": { ...bound, serviceaccount: { ...bound.serviceaccount, name: "store" } },
});

interface Pod {
  readonly metadata: { readonly uid: string; readonly labels: Readonly<Record<string, string>> };
}

export function tokens(open: () => Market): void {
  describe("proofs at the xDS ports", () => {
    let shop: Market;
    let directory: string;
    let address: string;
    let roots: string;
    let key: string;
    /** A pod of the buyer's account with a sidecar, that no node runs. */
    let ghost: Pod;
    beforeAll(async () => {
      shop = open();
      directory = mkdtempSync(join(tmpdir(), "heddle-proofs-"));
      const [controller] = await shop.controlPlane("osm-controller");
      address = controller?.status.podIP ?? "";
      const secret = await secretData(shop);
      roots = secret["ca.crt"] ?? "";
      key = secret["private.key"] ?? "";
      ghost = await made("ghost");
      // No kubelet gives it an address, without which it would be nobody's server and nobody's client.
      const status = { phase: "Running", podIP: "10.9.9.9", podIPs: [{ ip: "10.9.9.9" }] };
      const located = { apiVersion: "v1", kind: "Pod", metadata: { name: "ghost", namespace: SHOP }, status };
      await shop.client.apply(PODS, located, { manager: "test", force: true, subresource: "status" }, shop.signal);
    });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    /** A pod with a sidecar that stays where it is. */
    async function made(name: string, annotations: Record<string, string> = {}): Promise<Pod> {
      const spec = {
        schedulerName: "nobody",
        serviceAccountName: "buyer",
        containers: [{ name: "app", image: "nothing:1" }],
      };
      const { status, body } = await shop.ask("POST", `/api/v1/namespaces/${SHOP}/pods`, {
        metadata: { name, annotations },
        spec,
      });
      expect(status, body).toBe(201);
      return JSON.parse(body) as Pod;
    }

    async function token(audience: string, pod?: { name: string; uid: string }): Promise<string> {
      const boundObjectRef = pod && { apiVersion: "v1", kind: "Pod", ...pod };
      const { status, body } = await shop.ask("POST", `/api/v1/namespaces/${SHOP}/serviceaccounts/buyer/token`, {
        spec: { audiences: [audience], expirationSeconds: 600, ...(boundObjectRef ? { boundObjectRef } : {}) },
      });
      expect(status, body).toBe(201);
      return (JSON.parse(body) as { status: { token: string } }).status.token;
    }
    const ofGhost = (audience = "heddle") => token(audience, { name: "ghost", uid: ghost.metadata.uid });

    /** The same claims but for these, signed with the cluster's own key or another one. */
    function forged(good: string, claims: (old: Claims) => object, by = pki(shop.cluster, "sa.key")): string {
      const [header = "", payload = ""] = good.split(".");
      const old = JSON.parse(Buffer.from(payload, "base64url").toString()) as Claims;
      const text = `${header}.${Buffer.from(JSON.stringify({ ...old, ...claims(old) })).toString("base64url")}`;
      return `${text}.${createSign("RSA-SHA256").update(text).sign(by).toString("base64url")}`;
    }

    const dial = async (port: number, ...proofs: Partial<Dial>[]): Promise<Outcome[]> => {
      const dials = proofs.map((proof) => ({
        address: `${address}:${port}`,
        roots,
        serverName: `osm-controller.${SYSTEM}.svc.${DOMAIN}`,
        ...proof,
      }));
      const program = [process.execPath, join(import.meta.dirname, "xds-dial.ts")];
      return JSON.parse(await shop.cluster.nodeExec(program, JSON.stringify(dials))) as Outcome[];
    };
    const bearer = (text: string) => ({ authorization: `Bearer ${text}` });
    const sidecar = (id: string, account: string) => `${id}.sidecar.${account}.${SHOP}.${DOMAIN}`;
    const ghostId = () => ghost.metadata.labels["osm-proxy-uuid"] ?? "";

    test("port 15129: a token of the pod's own is served; every other one is refused in words, and the log has them", async () => {
      const good = await ofGhost();
      await made("deleted");
      const { body } = await shop.ask("GET", `/api/v1/namespaces/${SHOP}/pods/deleted`);
      const deleted = await token("heddle", { name: "deleted", uid: (JSON.parse(body) as Pod).metadata.uid });
      await shop.ask("DELETE", `/api/v1/namespaces/${SHOP}/pods/deleted`, { gracePeriodSeconds: 0 });
      const bare = await made("bare", { "openservicemesh.io/sidecar-injection": "disabled" });
      openssl(directory, "genrsa", "-out", "other.key", "2048");
      const other = readFileSync(join(directory, "other.key"), "utf8");
      const now = Math.floor(Date.now() / 1000);
      const cases: readonly (readonly [what: string, proof: Partial<Dial>, said: RegExp])[] = [
        ["no token", {}, /no token was shown/],
        ["a password", { authorization: "Basic Zm9vOmJhcg==" }, /no token was shown/],
        ["garbage", bearer("not.a.token"), /the token is no JWT/],
        ["a long one", bearer("a".repeat(20_000)), /no token was shown/],
        ["another audience", bearer(await ofGhost("elsewhere")), /the token is not meant for heddle/],
        [
          "the API server's audience",
          bearer(await ofGhost(`https://kubernetes.default.svc.${DOMAIN}`)),
          /the token is not meant for heddle/,
        ],
        ["of a deleted pod", bearer(deleted), /the API server does not accept the token/],
        ["bound to no pod", bearer(await token("heddle")), /is not bound to a pod/],
        [
          "of a pod without sidecar",
          bearer(await token("heddle", { name: "bare", uid: bare.metadata.uid })),
          /shop\/bare is not known here, or has no sidecar/,
        ],
        [
          "of another account than the proxy says",
          { ...bearer(good), node: sidecar(ghostId(), "store") },
          /says that it is of shop\/store, and its certificate or token is of shop\/buyer/,
        ],
        [
          "expired",
          bearer(forged(good, () => ({ iat: now - 7200, nbf: now - 7200, exp: now - 3600 }))),
          /the token has expired/,
        ],
        ["of another cluster", bearer(forged(good, () => ({}), other)), /the API server does not accept the token/],
        ["with another account written into it", bearer(forged(good, ofStore)), /the API server does not accept/],
      ];
      let last: Outcome | undefined;
      const served = async () => ([last] = await dial(15129, bearer(good)))[0]?.served;
      await until("a good one is served", served, 60_000).catch((cause: unknown) => {
        throw new Error(JSON.stringify(last), { cause });
      });
      const outcomes = await dial(15129, ...cases.map(([, proof]) => proof));
      for (const [i, [what, , said]] of cases.entries()) {
        expect(outcomes[i], what).toMatchObject({ served: false, code: Status.UNAUTHENTICATED });
        expect(outcomes[i]?.details, what).toMatch(said);
      }
      // A key of our own makes a token that is as good as the API server's: the forgeries were refused for what was changed.
      for (const proof of [
        bearer(forged(good, () => ({ exp: now + 500 }))),
        { ...bearer(good), node: sidecar(ghostId(), "buyer") },
      ])
        expect(await dial(15129, proof)).toEqual([{ served: true }]);

      const log = await shop.logs("osm-controller");
      for (const [i, [what]] of cases.entries())
        expect(log, what).toContain(JSON.stringify(`was ended: ${outcomes[i]?.details}`).slice(1, -1));
      expect(log).not.toMatch(/\\n {4}at |^\s+at /m);
      for (const part of good.split(".")) expect(log).not.toContain(part);
    });

    test("port 15128: a client certificate of OSM's form is served, others are not", async () => {
      const root = readRoot({ caCrt: roots, caKey: new PrivateKey(key) }, "the Secret", Date.now());
      const other = await makeRoot("ecdsa-p256", DAY, Date.now());
      const evil = readRoot(other, "memory", Date.now());
      /** As OSM made them: a DNS name and nothing else. openssl takes no name that long. */
      const certificate = async (name: string, { signer, subject, keyId } = root): Promise<Partial<Dial>> => {
        const { publicKey, privateKey } = await makeKeyPair("ecdsa-p256");
        const template = {
          issuer: subject,
          issuerKeyId: keyId,
          subject: encodeName({ commonName: name, organization: "Open Service Mesh" }),
          publicKey,
          notBefore: Date.now() - DAY,
          notAfter: Date.now() + DAY,
          ca: false,
          keyUsage: ["digitalSignature"] as const,
          extendedKeyUsage: ["serverAuth", "clientAuth"] as const,
          altNames: [{ kind: "dns", value: name } as const],
        };
        return { certificate: (await signCertificate(template, signer)).pem, privateKey: privateKey.revealPem() };
      };
      // Alone, as a newer stream of the same proxy would take over.
      expect(await dial(15128, await certificate(sidecar(ghostId(), "buyer")))).toEqual([{ served: true }]);
      const [foreign, none, workload, lying] = await dial(
        15128,
        await certificate(sidecar(ghostId(), "buyer"), evil),
        bearer(await ofGhost()),
        await certificate(`buyer.${SHOP}.${DOMAIN}`),
        { ...(await certificate(sidecar(ghostId(), "buyer"))), node: sidecar(ghostId(), "store") },
      );
      expect([foreign?.code, none?.code]).toEqual([Status.UNAVAILABLE, Status.UNAVAILABLE]);
      expect(workload).toMatchObject({
        code: Status.UNAUTHENTICATED,
        details: expect.stringContaining("is not of the form") as string,
      });
      expect(lying).toMatchObject({ code: Status.UNAUTHENTICATED });
    });
  });
}

async function secretData(shop: Market): Promise<Record<string, string>> {
  const { body } = await shop.ask("GET", `/api/v1/namespaces/${SYSTEM}/secrets/osm-ca-bundle`);
  const { data } = JSON.parse(body) as { data: Record<string, string> };
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
}
