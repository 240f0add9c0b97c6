/**
 * The built-in CA: holds the root, issues certificates for workloads, proxies and servers, and keeps them renewed.
 * Knows what stands in which certificate; nothing of Envoy, streams or where the root is kept.
 */
import type { Log } from "../telemetry/log.ts";
import { isServiceDnsName, principalDnsName, spiffeId, type Identity } from "../world/names.ts";
import { Gate } from "./gate.ts";
import { KEY_KINDS, makeKeyPair, type KeyKind } from "./keys.ts";
import { Lifetime, type Issued } from "./lifetime.ts";
import { isDnsName, isIdentity, isUuid, sidecarDnsName, sidecarUri } from "./peer-identity.ts";
import { BACKDATE, makeRoot, readRoot, type Root } from "./root.ts";
import { Schedule, wallClock, type WallClock } from "./schedule.ts";
import { CaError, type SecretStore } from "./store.ts";
import { readBundle, TrustBundle } from "./trust-bundle.ts";
import { encodeName, signCertificate, type AltName, type ExtendedKeyUsage } from "./x509.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
/** OSM's lower limit of `serviceCertValidityDuration`, too. */
const SHORTEST = 10 * MINUTE;
/** RFC 5280's `ub-common-name`. */
const LONGEST_COMMON_NAME = 64;

/** What may be set. Durations in milliseconds. */
export interface AuthoritySettings {
  readonly trustDomain: string;
  /** Of workloads' certificates; a day unless told otherwise, ten minutes or more. */
  readonly workloadValidity?: number;
  /** Of proxies' xDS certificates and of servers'; 30 days. */
  readonly controlPlaneValidity?: number;
  /** Of a root that is made here; three years. */
  readonly rootValidity?: number;
  /** Of roots and leaves that are made here. */
  readonly keys?: KeyKind;
  /** More roots to trust, PEM: the one that is going away, or the one that is to come. */
  readonly alsoTrust?: string;
  /** Keys made at a time. Two are enough to fill a core and leave half of libuv's threads to others. */
  readonly concurrency?: number;
}

export interface AuthorityParts {
  readonly store: SecretStore;
  readonly clock?: WallClock;
  /** From 0 up to 1; for jitter only. */
  readonly random?: () => number;
  readonly log?: Log;
  /** Called for each certificate that was issued: for a counter. */
  readonly issued?: () => void;
}

interface Request {
  readonly names: readonly AltName[];
  /** Whatever its length, where somebody reads it; otherwise the first DNS name if it is short enough. */
  readonly commonName?: string;
  readonly uses: readonly ExtendedKeyUsage[];
  readonly validity: number;
}

/**
 * Issues certificates of one root. Keys of leaves are made here, in memory, and never stored; a root's key comes from the
 * store. Methods throw `CaError` for what a person can put right (the root has expired), and their signal's reason.
 */
export class Authority {
  readonly trustDomain: string;
  /** The roots to trust, the signing one first. */
  readonly bundle: TrustBundle;
  /** When the root expires, milliseconds since the epoch. No certificate lives longer. */
  readonly rootNotAfter: number;
  readonly #settings: Required<AuthoritySettings>;
  readonly #parts: AuthorityParts & { readonly clock: WallClock; readonly random: () => number };
  readonly #root: Root;
  readonly #gate: Gate;
  readonly #schedule: Schedule;
  #workloadValidity: number;
  #failing = false;

  private constructor(settings: Required<AuthoritySettings>, parts: AuthorityParts, root: Root, bundle: TrustBundle) {
    this.trustDomain = settings.trustDomain;
    this.bundle = bundle;
    this.rootNotAfter = root.notAfter;
    this.#settings = settings;
    this.#parts = { clock: wallClock, random: Math.random, ...parts };
    this.#root = root;
    this.#gate = new Gate(settings.concurrency);
    this.#schedule = new Schedule(this.#parts.clock);
    this.#workloadValidity = settings.workloadValidity;
  }

  /**
   * Loads the root, or makes one where the store has none. Throws `CaError` with a sentence about settings or store.
   * With the signal, all renewal ends.
   */
  static async start(settings: AuthoritySettings, parts: AuthorityParts, signal: AbortSignal): Promise<Authority> {
    const full = checked(settings);
    const { store, log, clock = wallClock } = parts;
    const extra = readExtra(full.alsoTrust);
    let stored = await store.load();
    const fresh = stored === undefined;
    stored ??= await store.createIfAbsent(await makeRoot(full.keys, full.rootValidity, clock.now()));
    signal.throwIfAborted();
    const root = readRoot(stored, store.where, clock.now());
    const expires = new Date(root.notAfter).toISOString();
    const authority = new Authority(full, parts, root, new TrustBundle([...root.trusted, ...extra]));
    signal.addEventListener("abort", () => authority.#schedule.end(), { once: true });
    log?.info(`${fresh ? "Root certificate made" : "Root certificate loaded"} in ${store.where}`, {
      expires,
    });
    if (root.notAfter - clock.now() < 30 * DAY)
      log?.warn(`The root certificate in ${store.where} expires on ${expires}; it must be replaced before`);
    return authority;
  }

  /**
   * Why this workload gets no certificate; undefined when it gets one. A ServiceAccount's name may have dots: one with the
   * DNS name of a Service could pose as the control plane, whose certificate has its Services' names.
   */
  refusal(id: Identity): string | undefined {
    if (!isIdentity(id)) return `No certificate for ${JSON.stringify(id)}: it is not an identity's name.`;
    const name = principalDnsName(id, this.trustDomain);
    if (!isServiceDnsName(name)) return undefined;
    return `No certificate for ${JSON.stringify(id)}: its DNS name ${name} has the form of a Service's. Give the pod a ServiceAccount without dots.`;
  }

  /** A workload's certificate, for both ends of mTLS. */
  async issueWorkload(id: Identity, signal?: AbortSignal): Promise<Issued> {
    const refused = this.refusal(id);
    if (refused !== undefined) throw new CaError(refused);
    const names = [dns(principalDnsName(id, this.trustDomain)), uri(spiffeId(id, this.trustDomain))];
    return this.#issue({ names, uses: ["serverAuth", "clientAuth"], validity: this.#workloadValidity }, signal);
  }

  /** The client certificate by which one proxy proves to the control plane which it is. See `peerIdentity`. */
  async issueSidecar(id: Identity, uuid: string, signal?: AbortSignal): Promise<Issued> {
    if (!isIdentity(id) || !isUuid(uuid))
      throw new CaError(
        `No certificate for proxy ${JSON.stringify(uuid)} of ${JSON.stringify(id)}: not a UUID and an identity.`,
      );
    const commonName = sidecarDnsName(id, uuid, this.trustDomain);
    const names = [dns(commonName), uri(sidecarUri(id, uuid, this.trustDomain))];
    const validity = this.#settings.controlPlaneValidity;
    return this.#issue({ names, commonName, uses: ["clientAuth"], validity }, signal);
  }

  /** A server's certificate for these DNS names: the xDS port, the webhooks. */
  async issueServer(names: readonly string[], signal?: AbortSignal): Promise<Issued> {
    const wrong = names.find((name) => !isDnsName(name));
    if (wrong !== undefined || names.length === 0)
      throw new CaError(`No server certificate: ${JSON.stringify(wrong ?? "")} is not a DNS name in lower case.`);
    const validity = this.#settings.controlPlaneValidity;
    return this.#issue({ names: names.map(dns), uses: ["serverAuth"], validity }, signal);
  }

  /** A workload's certificate that stays fresh until the signal. */
  leaf(id: Identity, signal: AbortSignal): Promise<Lifetime> {
    return this.#keep((stop) => this.issueWorkload(id, stop), signal);
  }

  /** A proxy's xDS certificate that stays fresh until the signal. */
  sidecar(id: Identity, uuid: string, signal: AbortSignal): Promise<Lifetime> {
    return this.#keep((stop) => this.issueSidecar(id, uuid, stop), signal);
  }

  /** A server's certificate that stays fresh until the signal. */
  server(names: readonly string[], signal: AbortSignal): Promise<Lifetime> {
    return this.#keep((stop) => this.issueServer(names, stop), signal);
  }

  /** Sets the validity of workloads' certificates from the next one on. Changes nothing and says why when it is too short. */
  setWorkloadValidity(ms: number): { readonly refused: string } | undefined {
    const refused = tooShort(ms);
    if (refused) return { refused };
    this.#workloadValidity = ms;
    return undefined;
  }

  /** Keys that wait to be made, the most that were made at a time, and renewals to come: what tests and metrics look at. */
  get load(): { readonly waiting: number; readonly peak: number; readonly scheduled: number } {
    return { waiting: this.#gate.waiting, peak: this.#gate.peak, scheduled: this.#schedule.size };
  }

  #keep(issue: (signal: AbortSignal) => Promise<Issued>, signal: AbortSignal): Promise<Lifetime> {
    const { clock, random } = this.#parts;
    const failed = (error: unknown) => this.#failed(error);
    return Lifetime.start({ issue, schedule: this.#schedule, clock, random, failed }, signal);
  }

  /** Thousands of streams fail for the same reason: it is said once, and once when it is over. */
  #failed(error: unknown): void {
    if (!this.#failing)
      this.#parts.log?.error("Certificates cannot be renewed; trying again", {
        error: String(error),
      });
    this.#failing = true;
  }

  #issue(request: Request, signal?: AbortSignal): Promise<Issued> {
    return this.#gate.run(() => this.#make(request), signal);
  }

  async #make(request: Request): Promise<Issued> {
    const root = this.#root;
    const { publicKey, privateKey, type } = await makeKeyPair(this.#settings.keys);
    const issuedAt = this.#parts.clock.now();
    if (issuedAt >= root.notAfter)
      throw new CaError(
        `The root certificate expired on ${new Date(root.notAfter).toISOString()}. Replace it and restart.`,
      );
    const notBefore = wholeSeconds(issuedAt - BACKDATE);
    const notAfter = Math.min(wholeSeconds(issuedAt + request.validity), root.notAfter);
    const commonName = request.commonName ?? shortName(request.names);
    const { pem, serial } = await signCertificate(
      {
        issuer: root.subject,
        issuerKeyId: root.keyId,
        subject: encodeName(commonName === undefined ? {} : { commonName }),
        publicKey,
        notBefore,
        notAfter,
        ca: false,
        keyUsage: type === "rsa" ? ["digitalSignature", "keyEncipherment"] : ["digitalSignature"],
        extendedKeyUsage: request.uses,
        altNames: request.names,
      },
      root.signer,
    );
    this.#parts.issued?.();
    if (this.#failing) this.#parts.log?.info("Certificates can be renewed again");
    this.#failing = false;
    return { chainPem: pem, privateKey, serial, issuedAt, notBefore, notAfter };
  }
}

const dns = (value: string): AltName => ({ kind: "dns", value });
const uri = (value: string): AltName => ({ kind: "uri", value });
const wholeSeconds = (ms: number): number => Math.floor(ms / 1000) * 1000;

function shortName([first]: readonly AltName[]): string | undefined {
  return first && first.value.length <= LONGEST_COMMON_NAME ? first.value : undefined;
}

const tooShort = (ms: number): string | undefined =>
  ms >= SHORTEST
    ? undefined
    : `The validity of workload certificates must be ten minutes or more, not ${ms / MINUTE} minutes.`;

function checked(settings: AuthoritySettings): Required<AuthoritySettings> {
  const full = {
    workloadValidity: DAY,
    controlPlaneValidity: 30 * DAY,
    rootValidity: 3 * 365 * DAY,
    keys: "ecdsa-p256" as const,
    alsoTrust: "",
    concurrency: 2,
    ...settings,
  };
  const mistakes = [
    !isDnsName(full.trustDomain) &&
      `The trust domain ${JSON.stringify(full.trustDomain)} is not a DNS name in lower case.`,
    full.trustDomain.split(".")[0] === "svc" &&
      `The trust domain ${JSON.stringify(full.trustDomain)} must not begin with "svc": workloads would have Services' names.`,
    tooShort(full.workloadValidity),
    !(full.controlPlaneValidity >= SHORTEST) &&
      "The validity of control-plane certificates must be ten minutes or more.",
    !(full.rootValidity >= full.workloadValidity) &&
      "The root's validity must not be shorter than that of workload certificates.",
    !KEY_KINDS.includes(full.keys) && `The kind of keys must be one of ${KEY_KINDS.join(", ")}.`,
    !(full.concurrency >= 1) && "The number of keys made at a time must be 1 or more.",
  ].filter((mistake) => typeof mistake === "string");
  if (mistakes.length > 0) throw new CaError(mistakes.join(" "));
  return full;
}

function readExtra(pem: string): TrustBundle["roots"] {
  if (pem.trim() === "") return [];
  const bundle = readBundle(pem);
  if ("refused" in bundle) throw new CaError(`The text of further roots to trust ${bundle.refused}.`);
  return bundle.roots;
}
