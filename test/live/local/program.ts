import type { Container, PodManifest, PodSpec } from "../../../src/world/pod.ts";

/** A program for Node, as a container's command. */
export const node = (program: string): string[] => [process.execPath, "-e", program];
export const SERVER = `require("http").createServer((q, s) => s.end(require("os").hostname() + " " + q.socket.remoteAddress.replace("::ffff:", ""))).listen(8080, () => console.log("listening"));process.on("SIGTERM", () => process.exit())`;

export const container = (program: string, more: Partial<Container> = {}): Container => ({
  name: "app",
  image: "app",
  command: node(program),
  ...more,
});

export function pod(
  name: string,
  app: Container | readonly Container[],
  spec: Partial<PodSpec> = {},
  metadata: Partial<PodManifest["metadata"]> = {},
): PodManifest {
  return {
    metadata: { name, namespace: "ns", uid: `uid-${name}`, labels: {}, annotations: {}, ...metadata },
    spec: {
      serviceAccountName: "default",
      containers: Array.isArray(app) ? (app as readonly Container[]) : [app as Container],
      ...spec,
    },
  };
}
