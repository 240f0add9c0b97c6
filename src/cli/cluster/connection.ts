/**
 * One cluster, as the verbs have it: its API server, and its pods' ports. Knows no verb.
 */
import type { ClusterConfig } from "../../sources/kubernetes/cluster-config.ts";
import type { TransportLimits } from "../../sources/kubernetes/transport.ts";
import { UserError } from "../errors.ts";
import { Api } from "./api.ts";
import { ask, type PodPort, type Reply } from "./forward.ts";
import { targetOf } from "./kube.ts";
import type { Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";

export class Cluster {
  readonly api: Api;
  readonly context: string;
  readonly #config: ClusterConfig;
  readonly #signal: AbortSignal;

  constructor(config: ClusterConfig, context: string, signal: AbortSignal, limits: Partial<TransportLimits> = {}) {
    this.#config = config;
    this.#signal = signal;
    this.context = context;
    this.api = new Api({ config, limits }, signal);
  }

  /** GET of a pod's port, as from inside the pod. */
  askPod(port: PodPort, path: string): Promise<Reply> {
    return ask(this.#config, port, path, this.#signal);
  }

  /** As `askPod`; throws a `UserError` for anything but 200 and JSON. */
  async askPodJson(port: PodPort, path: string): Promise<unknown> {
    const { status, body } = await this.askPod(port, path);
    const what = `${path} of pod ${port.namespace}/${port.pod}`;
    if (status !== 200)
      throw new UserError(`${what} was answered with ${status}: ${body.toString("utf8", 0, 200).trim()}`);
    try {
      return JSON.parse(body.toString("utf8"));
    } catch {
      throw new UserError(`${what} was not answered with JSON. Is this pod what it should be?`);
    }
  }
}

/** What every verb about a cluster is given. */
export interface Context {
  readonly settings: Settings;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** Reads the kubeconfig at the first call. `limits` of the first call count. */
  cluster(limits?: Partial<TransportLimits>): Promise<Cluster>;
}

export function contextOf(settings: Settings, terminal: Terminal, signal: AbortSignal): Context & { close(): void } {
  let cluster: Promise<Cluster> | undefined;
  return {
    settings,
    terminal,
    signal,
    cluster: (limits) =>
      (cluster ??= targetOf(settings).then(({ config, context }) => new Cluster(config, context, signal, limits))),
    close: () => void cluster?.then((one) => one.api.close()).catch(() => {}),
  };
}
