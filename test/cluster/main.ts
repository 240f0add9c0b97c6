/**
 * `npm run cluster`: a cluster for a developer, until Ctrl-C or until it is stopped.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ClusterError, startCluster } from "./cluster.ts";
import { cleanUp } from "./node.ts";
import { isClusterId, stateDirectory } from "./paths.ts";

const USAGE = `npm run cluster -- [--id NAME] [--detach | --stop]

Starts a whole Kubernetes on this machine and removes it at Ctrl-C. The first time builds it, for about 10 minutes.
  --id NAME   for more than one beside each other: 1 to 8 of a-z and 0-9 (dev)
  --detach    leaves it running
  --stop      stops one that was left running`;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

const exitNow = (): void => process.exit(130);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      id: { type: "string", default: "dev" },
      detach: { type: "boolean", default: false },
      stop: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const { id, detach } = values;
  if (values.help) {
    say(USAGE);
    return 0;
  }
  if (values.stop) {
    const existed = isClusterId(id) && existsSync(stateDirectory(id));
    if (isClusterId(id)) cleanUp(id);
    if (!existed) throw new ClusterError(`There is no cluster "${id}".`);
    say(`cluster "${id}" is stopped and removed`);
    return 0;
  }
  // The cluster cleans up after itself when this process ends, however far it got.
  let interrupted = exitNow;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interrupted());
  const begin = performance.now();
  const cluster = await startCluster({ id, say, stays: detach });
  say(`cluster "${id}" is ready after ${((performance.now() - begin) / 1000).toFixed(1)} s

  export KUBECONFIG=${cluster.kubeconfig}
  alias kubectl=${join(cluster.directory, "kubectl")}
  kubectl get nodes

logs: ${join(cluster.directory, "logs")}; a shell in the node: ${cluster.nodeCommand(["bash"]).join(" ")}`);
  if (detach) {
    say(`stop it with: npm run cluster -- --stop --id ${id}`);
    return 0;
  }
  say("Ctrl-C stops and removes it");
  const timer = setInterval(() => {}, 1 << 30);
  await new Promise<void>((done) => (interrupted = done));
  clearInterval(timer);
  cluster.stop();
  say(`cluster "${id}" is stopped and removed`);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  const usage = (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  if (!(error instanceof ClusterError) && !usage) throw error;
  say(`${(error as Error).message}${usage ? `\n\n${USAGE}` : ""}`);
  process.exitCode = 1;
}
