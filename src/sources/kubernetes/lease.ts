/**
 * Which of several replicas leads, decided by a Lease object: at most one at a time, whatever their clocks say. Knows nothing of what a
 * leader does.
 *
 * As in client-go, nobody compares a time in the Lease with his own clock: a follower counts from when *he* saw the Lease change, a leader
 * from when *he* sent the renewal that succeeded, and the leader's time is the shorter one.
 */
import { isRaw, type Raw } from "../../lib/json.ts";
import { realClock, type Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import { pause } from "./back-off.ts";
import type { KubernetesClient } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { LEASES, metadataOf } from "./resource.ts";

/** Milliseconds; client-go's values when absent. `renew` is less than `duration`, and some times `retry`. */
export interface LeaseTimes {
  /** A follower takes over when the Lease has not changed for so long. */
  readonly duration: number;
  /** A leader that could not renew for so long leads no more. */
  readonly renew: number;
  /** Between attempts. */
  readonly retry: number;
}

export const LEASE_TIMES: LeaseTimes = { duration: 15_000, renew: 10_000, retry: 2_000 };

export interface LeadershipOptions {
  readonly client: KubernetesClient;
  readonly namespace: string;
  readonly name: string;
  /** Of this replica, unlike every other's and unlike that of its own former life: pod name and uid. */
  readonly identity: string;
  readonly log: Log;
  readonly times?: Partial<LeaseTimes>;
  readonly clock?: Clock;
  /** Milliseconds since the epoch, for people who read the Lease. */
  readonly wall?: () => number;
  /** From 0 up to 1; for jitter. */
  readonly random?: () => number;
}

export class Leadership {
  readonly #options: Required<Omit<LeadershipOptions, "times">>;
  readonly #times: LeaseTimes;
  readonly #onLeading = new Set<(term: AbortSignal) => void>();
  readonly #onLost = new Set<() => void>();
  /** The Lease as it was last seen, and when it was first seen so. */
  #seen: { readonly lease: Raw; readonly at: number } | undefined;
  #term: AbortController | undefined;
  #cancelEnd: () => void = () => {};
  #troubled = false;

  constructor(options: LeadershipOptions) {
    this.#options = { clock: realClock, wall: Date.now, random: Math.random, ...options };
    this.#times = { ...LEASE_TIMES, ...options.times };
    if (this.#times.renew >= this.#times.duration)
      throw new RangeError("a leader must give up before others take over");
  }

  get leading(): boolean {
    return this.#term !== undefined;
  }

  /** Who holds the Lease as far as is known here; "" for nobody. */
  get holder(): string {
    return holderOf(this.#seen?.lease);
  }

  /** Calls when this replica begins to lead; the signal ends with its term: no write may begin after that. The answer ends it. */
  onLeading(listener: (term: AbortSignal) => void): () => void {
    this.#onLeading.add(listener);
    return () => this.#onLeading.delete(listener);
  }

  /** Calls when this replica leads no more. The answer ends it. */
  onLost(listener: () => void): () => void {
    this.#onLost.add(listener);
    return () => this.#onLost.delete(listener);
  }

  /** Takes part until the signal; resolves when the Lease was given back. Never throws. */
  async start(signal: AbortSignal): Promise<void> {
    const { clock, log, random, name } = this.#options;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const end = () => attempt.abort();
      signal.addEventListener("abort", end, { once: true });
      // One request that hangs must leave time for others before the term is over.
      const cancel = clock.after(this.#times.renew / 3, end);
      try {
        await this.#attempt(attempt.signal);
        this.#troubled = false;
      } catch (error) {
        if (!signal.aborted && !this.#troubled) {
          this.#troubled = true;
          log.warn("the Lease cannot be read or renewed, tried again until it can", {
            lease: name,
            error: String(error),
          });
        }
      } finally {
        cancel();
        signal.removeEventListener("abort", end);
      }
      await pause(clock, this.#times.retry * (0.9 + random() / 5), signal);
    }
    await this.#release();
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const { client, namespace, name, identity, clock } = this.#options;
    if (!this.leading || !this.#seen) {
      const lease = await client.get(LEASES, { namespace, name }, signal);
      if (!lease) this.#seen = undefined;
      else this.#observe(lease);
      if (this.#seen && !this.#free(this.#seen)) return;
    }
    // From before the request: whoever reads the Lease sees the change later than that.
    const sent = clock.now();
    try {
      const lease = this.#seen
        ? await client.replace(LEASES, this.#mine(this.#seen.lease), signal)
        : await client.create(LEASES, this.#mine(undefined), signal);
      this.#observe(lease);
      this.#lead(sent);
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
      const lease = await client.get(LEASES, { namespace, name }, signal);
      if (!lease) this.#seen = undefined;
      else this.#observe(lease);
      // A renewal whose answer was lost makes a conflict too; then it is still ours, and renewed by the next attempt.
      if (holderOf(lease) !== identity) this.#lose("another replica has taken it over");
    }
  }

  #observe(lease: Raw): void {
    const same = this.#seen && metadataOf(this.#seen.lease, "resourceVersion") === metadataOf(lease, "resourceVersion");
    if (!same) this.#seen = { lease, at: this.#options.clock.now() };
  }

  #free({ lease, at }: { readonly lease: Raw; readonly at: number }): boolean {
    const holder = holderOf(lease);
    if (holder === "" || holder === this.#options.identity) return true;
    // Another version of this program may hold it for longer; but a number in an object keeps nobody out for good.
    const said = Number(specOf(lease)["leaseDurationSeconds"]) * 1_000;
    const { duration } = this.#times;
    return this.#options.clock.now() - at >= Math.max(duration, Math.min(said || 0, duration * 4));
  }

  #mine(lease: Raw | undefined): Raw {
    const { namespace, name, identity, wall } = this.#options;
    const now = microTime(wall());
    const before = specOf(lease);
    const renewal = before["holderIdentity"] === identity;
    const transitions = Number(before["leaseTransitions"] ?? 0);
    const spec = {
      ...before,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#times.duration / 1_000),
      acquireTime: renewal ? before["acquireTime"] : now,
      renewTime: now,
      leaseTransitions: lease && !renewal ? transitions + 1 : transitions,
    };
    const metadata = lease?.["metadata"] ?? { namespace, name };
    return { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
  }

  #lead(sent: number): void {
    const { clock, log, identity, name } = this.#options;
    const left = sent + this.#times.renew - clock.now();
    if (left <= 0) return this.#lose("renewing took too long");
    this.#cancelEnd();
    this.#cancelEnd = clock.after(left, () => this.#lose("it could not be renewed in time"));
    if (this.#term) return;
    const term = new AbortController();
    this.#term = term;
    log.info("this replica leads", { lease: name, identity });
    for (const listener of this.#onLeading) listener(term.signal);
  }

  #lose(why: string): void {
    this.#cancelEnd();
    const term = this.#term;
    if (!term) return;
    this.#term = undefined;
    const { log, identity, name } = this.#options;
    log.warn("this replica leads no more", { lease: name, identity, why });
    term.abort();
    for (const listener of this.#onLost) listener();
  }

  /** So that nobody has to wait for it to run out. */
  async #release(): Promise<void> {
    const { client, identity, clock } = this.#options;
    const led = this.leading;
    this.#lose("it stops");
    if (!led || !this.#seen || holderOf(this.#seen.lease) !== identity) return;
    const { lease } = this.#seen;
    const { holderIdentity: _, ...rest } = specOf(lease);
    const ending = new AbortController();
    const cancel = clock.after(this.#times.retry, () => ending.abort());
    try {
      const spec = { ...rest, leaseDurationSeconds: 1, renewTime: microTime(this.#options.wall()) };
      await client.replace(LEASES, { ...lease, spec }, ending.signal);
    } catch {
      // It runs out by itself.
    } finally {
      cancel();
    }
  }
}

const specOf = (lease: Raw | undefined): Raw => (isRaw(lease?.["spec"]) ? lease["spec"] : {});

function holderOf(lease: Raw | undefined): string {
  const holder = specOf(lease)["holderIdentity"];
  return typeof holder === "string" ? holder : "";
}

/** Kubernetes' MicroTime has six digits, neither more nor fewer. */
const microTime = (at: number): string => new Date(at).toISOString().replace("Z", "000Z");
