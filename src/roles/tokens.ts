/**
 * Whose token a proxy shows: asks the API server once for each token, remembers the answer until shortly before the token ends, and holds
 * the token against the pod that it is bound to. Keeps no token, only its hash.
 */
import { hash } from "../lib/hash.ts";
import type { TokenVerdict } from "../sources/kubernetes/client.ts";
import { identity, namespaceOf, type Identity } from "../world/names.ts";

export const AUDIENCE = "heddle";

export interface TokenReviewer {
  reviewToken(token: string, audiences: readonly string[], signal: AbortSignal): Promise<TokenVerdict>;
}

export interface TokenOptions {
  readonly reviewer: TokenReviewer;
  /** The proxy of a pod, by the pod's name, as the world knows it. */
  readonly proxyOf: (
    namespace: string,
    pod: string,
  ) => { readonly id: string; readonly identity: Identity } | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Answers that are remembered at most. */
  readonly capacity?: number;
}

export type TokenAnswer =
  | { readonly proxy: { readonly id: string; readonly identity: Identity }; readonly until: Date }
  | { readonly refused: string };

interface Known {
  readonly account: Identity;
  readonly pod: string;
  /** Of that pod when the API server was asked: another pod of its name is not meant. */
  readonly proxy: string | undefined;
  /** Milliseconds since the epoch, from the token itself. */
  readonly until: number;
  /** When the API server is asked again: a deleted pod's token must not live on in a cache. */
  readonly askAgain: number;
}

const POD_NAME = "authentication.kubernetes.io/pod-name";
/** Milliseconds for which an answer is believed. */
const BELIEVED = 60_000;
const SERVICE_ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;

export class Tokens {
  readonly #options: Required<TokenOptions>;
  readonly #known = new Map<string, Known>();

  constructor(options: TokenOptions) {
    this.#options = { now: Date.now, capacity: 20_000, ...options };
  }

  /** Reads `authorization: Bearer …`. The sentence of a refusal holds no part of the token. */
  async authenticate(authorization: string | undefined, signal: AbortSignal): Promise<TokenAnswer> {
    const token = /^Bearer ([\w.~+/=-]{1,16384})$/.exec(authorization ?? "")?.[1];
    if (token === undefined) return { refused: "no token was shown (header authorization, Bearer)" };
    const { now, proxyOf } = this.#options;
    const key = hash(token);
    let known = this.#known.get(key);
    const proxyNow = ({ account, pod }: Known) => proxyOf(namespaceOf(account), pod);
    if (!known || known.askAgain <= now() || known.until <= now() || known.proxy !== proxyNow(known)?.id) {
      this.#known.delete(key);
      const asked = await this.#ask(token, signal);
      if ("refused" in asked) return asked;
      known = asked;
      this.#remember(key, known);
    }
    const proxy = proxyNow(known);
    if (!proxy)
      return {
        refused: `the token's pod ${namespaceOf(known.account)}/${known.pod} is not known here, or has no sidecar`,
      };
    if (proxy.identity !== known.account)
      return { refused: `the token is of ${known.account} and its pod runs as ${proxy.identity}` };
    return { proxy, until: new Date(known.until) };
  }

  async #ask(token: string, signal: AbortSignal): Promise<Known | { refused: string }> {
    const verdict = await this.#options.reviewer.reviewToken(token, [AUDIENCE], signal);
    if (!verdict.authenticated) return { refused: `the API server does not accept the token (${verdict.error})` };
    if (!verdict.audiences.includes(AUDIENCE)) return { refused: `the token is not meant for ${AUDIENCE}` };
    const account = SERVICE_ACCOUNT.exec(verdict.username);
    if (!account) return { refused: `the token is of ${verdict.username}, which is no ServiceAccount` };
    const pod = verdict.extra[POD_NAME]?.[0];
    if (pod === undefined) return { refused: "the token is not bound to a pod" };
    const now = this.#options.now();
    const of = identity(account[1] as string, account[2] as string);
    return {
      account: of,
      pod,
      proxy: this.#options.proxyOf(namespaceOf(of), pod)?.id,
      until: expiry(token, now),
      askAgain: now + BELIEVED,
    };
  }

  #remember(key: string, known: Known): void {
    if (this.#known.size >= this.#options.capacity) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(key, known);
  }
}

/** When the token says that it ends. It was verified by the API server; a claim that cannot be read ends at once after it was believed. */
function expiry(token: string, now: number): number {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { exp?: unknown };
    return typeof claims.exp === "number" ? claims.exp * 1000 : now + BELIEVED;
  } catch {
    return now + BELIEVED;
  }
}
