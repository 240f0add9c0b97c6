/**
 * The command line of a sidecar's Envoy. Pure; knows no file of the machine that it runs on.
 */
import { SIDECAR_FILES, serviceCluster } from "./bootstrap.ts";

/**
 * Seconds that connections of a replaced listener or filter chain live on. A TCP connection that is no longer allowed must be
 * gone within 5 s of the change, so the drain is 3 s. The price: an HTTP request that runs longer than 3 s is cut when the chain
 * that it came through changes. That is rare by design: HTTP policy travels in routes, which drain nothing, and chains change only
 * when ports, protocols or services do. How long a terminating pod goes on serving is not this number but its supervisor's
 * (who drains listeners, waits for connections to end, and only then sends SIGTERM, at which Envoy exits at once).
 */
export const DRAIN_SECONDS = 3;

export type EnvoyCommandLine = (
  | {
      /** Directory of the bootstrap. */
      readonly directory: string;
      readonly configYaml?: never;
    }
  | {
      readonly directory?: never;
      /** The bootstrap itself, where there is no file that it could be in. */
      readonly configYaml: string;
    }
) & {
  readonly serviceAccount: string;
  readonly namespace: string;
  /** Envoy's: trace, debug, info, warning, error, critical, off. */
  readonly logLevel: string;
  /** Worker threads; 2 when absent: a sidecar on a machine with 64 cores should not have 64. */
  readonly concurrency?: number;
};

/** Envoy's arguments, without the program. */
export function envoyArguments(line: EnvoyCommandLine): readonly string[] {
  return [
    ...(line.directory === undefined
      ? ["--config-yaml", line.configYaml]
      : ["--config-path", `${line.directory}/${SIDECAR_FILES.bootstrap}`]),
    "--log-level",
    line.logLevel,
    "--service-cluster",
    serviceCluster(line),
    "--concurrency",
    String(line.concurrency ?? 2),
    "--drain-time-s",
    String(DRAIN_SECONDS),
    // All connections are told to close when the drain begins, not at a random moment in it: 3 s are short already.
    "--drain-strategy",
    "immediate",
    // Without it several Envoys of one machine claim the same shared memory and domain socket.
    "--disable-hot-restart",
  ];
}
