/**
 * Keeps the caBundle of a webhook configuration right, whoever changes it: without it the API server trusts no answer of the webhook.
 * Knows nothing of what the webhook does.
 */
import { realClock, type Clock } from "../lib/settle.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { BackOff, pause } from "../sources/kubernetes/back-off.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { isConflict } from "../sources/kubernetes/errors.ts";
import { Reflector } from "../sources/kubernetes/reflector.ts";
import { metadataOf, type Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";

export interface CaBundleOptions {
  readonly client: KubernetesClient;
  readonly resource: Resource;
  readonly kind: string;
  readonly name: string;
  /** PEM. */
  readonly bundle: string;
  readonly log: Log;
  readonly clock?: Clock;
  /** From 0 up to 1; for jitter. */
  readonly random?: () => number;
}

/** Milliseconds after which an edit is no longer one of a row of edits: it is put right at once. */
const QUIET = 60_000;

/** Follows the configuration until the signal, from when it is there. Never throws. */
export async function keepCaBundle(options: CaBundleOptions, signal: AbortSignal): Promise<void> {
  const { client, resource, name, log, clock = realClock, random = Math.random } = options;
  const keeper = new Keeper(options, signal);
  const none = { put: () => {}, remove: () => {}, commit: () => {} };
  const reflector = new Reflector({
    client,
    resource,
    selection: { fieldSelector: `metadata.name=${name}` },
    target: {
      put: (object) => keeper.see(object),
      remove: () => keeper.see(undefined),
      replacement: () => {
        let only: Raw | undefined;
        return { ...none, put: (object) => (only = object), commit: () => keeper.see(only) };
      },
    },
    log,
    clock,
    random,
  });
  while (!signal.aborted) {
    await reflector.run(signal);
    // A server that is starting up may not have the collection yet.
    await pause(clock, 1_000, signal);
  }
}

/** Writes what was seen to be wrong, once at a time and for the latest only; ever slower against somebody who goes on undoing it. */
class Keeper {
  readonly #options: CaBundleOptions;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #again: BackOff;
  readonly #caBundle: string;
  #latest: Raw | undefined;
  #writing = false;
  #triedAt = Number.NEGATIVE_INFINITY;
  #said = "";

  constructor(options: CaBundleOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#clock = options.clock ?? realClock;
    this.#again = new BackOff({ first: 200, most: 10_000, random: options.random ?? Math.random });
    this.#caBundle = Buffer.from(options.bundle).toString("base64");
  }

  see(configuration: Raw | undefined): void {
    this.#latest = configuration;
    if (!this.#writing) void this.#work();
  }

  async #work(): Promise<void> {
    this.#writing = true;
    while (!this.#signal.aborted && this.#isWrong(this.#latest)) {
      if (this.#clock.now() - this.#triedAt > QUIET) this.#again.reset();
      else await pause(this.#clock, this.#again.next(), this.#signal);
      const seen = this.#latest;
      if (this.#signal.aborted || !seen || !this.#isWrong(seen)) break;
      this.#triedAt = this.#clock.now();
      await this.#write(seen);
    }
    this.#writing = false;
  }

  async #write(seen: Raw): Promise<void> {
    const { client, resource, kind, name, log } = this.#options;
    const clientConfig = (hook: Raw): Raw => (isRaw(hook["clientConfig"]) ? hook["clientConfig"] : {});
    const webhooks = hooksOf(seen).map((hook) => ({
      ...hook,
      clientConfig: { ...clientConfig(hook), caBundle: this.#caBundle },
    }));
    const metadata = { resourceVersion: metadataOf(seen, "resourceVersion") };
    try {
      const written = await client.merge(resource, { name }, { metadata, webhooks }, this.#signal);
      if (this.#latest === seen) this.#latest = written;
      log.info("wrote the webhook's caBundle", { kind, name });
      this.#said = "";
    } catch (error) {
      // Another replica was first, or it is edited just now: the watch brings what stands there.
      if (this.#signal.aborted || isConflict(error)) return;
      if (this.#said !== String(error))
        log.warn("could not write the webhook's caBundle, tried again until it can be", {
          kind,
          name,
          error: String(error),
        });
      this.#said = String(error);
    }
  }

  #isWrong(configuration: Raw | undefined): boolean {
    const bundleOf = (hook: Raw): unknown => isRaw(hook["clientConfig"]) && hook["clientConfig"]["caBundle"];
    return configuration !== undefined && hooksOf(configuration).some((hook) => bundleOf(hook) !== this.#caBundle);
  }
}

const hooksOf = (configuration: Raw): readonly Raw[] =>
  Array.isArray(configuration["webhooks"]) ? configuration["webhooks"].filter(isRaw) : [];
