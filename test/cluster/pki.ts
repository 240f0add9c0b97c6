/**
 * The certificates of a cluster: one CA and a leaf per part, in a directory. Knows nothing of the parts' command lines.
 */
import { generateKeyPairSync, webcrypto } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as x509 from "../unit/ca/peculiar.ts";
import { API_PORT, API_SERVICE_ADDRESS, NODE_ADDRESS, NODE_NAME } from "./paths.ts";

x509.cryptoProvider.set(webcrypto);

/** Names of clients, and what Kubernetes' own roles call them (Kubernetes' "PKI certificates and requirements"). */
const CLIENTS = {
  admin: "O=system:masters,CN=admin",
  "kube-apiserver-kubelet-client": "O=system:masters,CN=kube-apiserver-kubelet-client",
  "kube-controller-manager": "CN=system:kube-controller-manager",
  "kube-scheduler": "CN=system:kube-scheduler",
  "kube-proxy": "CN=system:kube-proxy",
  kubelet: `O=system:nodes,CN=system:node:${NODE_NAME}`,
  coredns: "CN=system:coredns",
} as const;

export type Client = keyof typeof CLIENTS;

/** Parts that get a kubeconfig; the admin's is for whoever is outside the node. */
const KUBECONFIGS: readonly Client[] = [
  "kube-controller-manager",
  "kube-scheduler",
  "kube-proxy",
  "kubelet",
  "coredns",
];

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY = 86_400_000;

/**
 * Fills `directory` with ca.crt, ca.key, NAME.crt and NAME.key for the API server and each client, sa.key and sa.pub, and
 * NAME.kubeconfig for each part. `outside` is the node's address as the machine sees it.
 */
export async function makePki(directory: string, outside: string): Promise<void> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const notBefore = new Date(Date.now() - DAY);
  const notAfter = new Date(Date.now() + 365 * DAY);
  const caKeys = await generate();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=heddle-test-cluster",
    notBefore,
    notAfter,
    keys: caKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  await write(directory, "ca", ca, caKeys);
  let serial = 1;
  const leaf = async (name: string, subject: string, usage: x509.ExtendedKeyUsage, sans: x509.JsonGeneralName[]) => {
    const keys = await generate();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++serial).toString(16).padStart(2, "0"),
      subject,
      issuer: ca.subject,
      notBefore,
      notAfter,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        ...(sans.length > 0 ? [new x509.SubjectAlternativeNameExtension(sans)] : []),
      ],
    });
    await write(directory, name, certificate, keys);
  };
  const services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  await leaf("kube-apiserver", "CN=kube-apiserver", x509.ExtendedKeyUsage.serverAuth, [
    ...["127.0.0.1", NODE_ADDRESS, API_SERVICE_ADDRESS, outside].map((value) => ({ type: "ip" as const, value })),
    ...["localhost", ...services, "kubernetes.default.svc.cluster.local"].map((value) => ({
      type: "dns" as const,
      value,
    })),
  ]);
  for (const [name, subject] of Object.entries(CLIENTS))
    await leaf(name, subject, x509.ExtendedKeyUsage.clientAuth, []);
  const account = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  writeFileSync(join(directory, "sa.key"), account.privateKey, { mode: 0o600 });
  writeFileSync(join(directory, "sa.pub"), account.publicKey);
  for (const name of KUBECONFIGS)
    writeFileSync(join(directory, `${name}.kubeconfig`), kubeconfig(directory, name, `https://127.0.0.1:${API_PORT}`), {
      mode: 0o600,
    });
}

/** A kubeconfig that holds all it needs. JSON is YAML. */
export function kubeconfig(directory: string, client: Client, server: string): string {
  const data = (name: string): string => readFileSync(join(directory, name)).toString("base64");
  const name = "heddle-test";
  return `${JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: { server, "certificate-authority-data": data("ca.crt") } }],
      users: [
        {
          name: client,
          user: { "client-certificate-data": data(`${client}.crt`), "client-key-data": data(`${client}.key`) },
        },
      ],
      contexts: [{ name, context: { cluster: name, user: client } }],
      "current-context": name,
    },
    undefined,
    2,
  )}\n`;
}

const generate = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

async function write(
  directory: string,
  name: string,
  certificate: x509.X509Certificate,
  keys: webcrypto.CryptoKeyPair,
) {
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = pkcs8.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  writeFileSync(join(directory, `${name}.crt`), `${certificate.toString("pem")}\n`);
  writeFileSync(join(directory, `${name}.key`), `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`);
  chmodSync(join(directory, `${name}.key`), 0o600);
}
