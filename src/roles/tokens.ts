/**
 * Whose token a proxy shows: asks the API server once for each token, remembers the answer for a minute, and holds the token against the
 * pod that it is bound to. Anybody may show tokens, so questions are few at a time. Keeps no token, only its hash.
 */
import { Gate } from "../ca/gate.ts";
import { hash } from "../lib/hash.ts";
import type { TokenVerdict } from "../sources/kubernetes/client.ts";
import { identity, namespaceOf, type Identity } from "../world/names.ts";

export interface TokenReviewer {
  reviewToken(token: string, audiences: readonly string[], signal: AbortSignal): Promise<TokenVerdict>;
}

export interface TokenOptions {
  readonly reviewer: TokenReviewer;
  /** For whom tokens must be meant: what the injector has pods ask for. */
  readonly audience: string;
  /** The proxy of a pod, by the pod's name, as the world knows it. */
  readonly proxyOf: (
    namespace: string,
    pod: string,
  ) => { readonly id: string; readonly identity: Identity } | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Answers that are remembered at most. */
  readonly capacity?: number;
  /** Questions to the API server at a time. */
  readonly concurrent?: number;
  /** Questions that wait in line; who shows another token is told to come again. */
  readonly waiting?: number;
}

export type TokenAnswer =
  | { readonly proxy: { readonly id: string; readonly identity: Identity }; readonly until: Date }
  | Refused;

interface Refused {
  readonly refused: string;
}

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
  /** Questions that have no answer yet. */
  readonly #asking = new Map<string, Promise<Known | Refused>>();
  readonly #gate: Gate;

  constructor(options: TokenOptions) {
    this.#options = { now: Date.now, capacity: 20_000, concurrent: 32, waiting: 5_000, ...options };
    this.#gate = new Gate(this.#options.concurrent);
  }

  /**
   * Reads `authorization: Bearer …`. The sentence of a refusal holds no part of the token. The signal is that of the whole server: it ends
   * a question for all who wait for its answer.
   */
  async authenticate(authorization: string | undefined, signal: AbortSignal): Promise<TokenAnswer> {
    const token = /^Bearer ([\w.~+/=-]{1,16384})$/.exec(authorization ?? "")?.[1];
    if (token === undefined) return { refused: "no token was shown (header authorization, Bearer)" };
    const { now, proxyOf } = this.#options;
    const key = hash(token);
    let known = this.#known.get(key);
    const proxyNow = ({ account, pod }: Known) => proxyOf(namespaceOf(account), pod);
    if (!known || known.askAgain <= now() || known.until <= now() || known.proxy !== proxyNow(known)?.id) {
      this.#known.delete(key);
      const asked = await this.#question(key, token, signal);
      if ("refused" in asked) return asked;
      known = asked;
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

  /** Of those who show the same token at the same time, one asks. */
  async #question(key: string, token: string, signal: AbortSignal): Promise<Known | Refused> {
    const open = this.#asking.get(key);
    if (open) return open;
    const until = endOf(token, this.#options.audience, this.#options.now());
    if (typeof until !== "number") return until;
    if (this.#gate.waiting >= this.#options.waiting)
      return { refused: "too many tokens wait for the API server's word; come again" };
    const asked = this.#gate
      .run(() => this.#ask(token, until, signal), signal)
      .then((answer) => {
        if (!("refused" in answer)) this.#remember(key, answer);
        return answer;
      })
      .finally(() => this.#asking.delete(key));
    this.#asking.set(key, asked);
    return asked;
  }

  async #ask(token: string, until: number, signal: AbortSignal): Promise<Known | Refused> {
    const { reviewer, audience } = this.#options;
    const verdict = await reviewer.reviewToken(token, [audience], signal);
    if (!verdict.authenticated) return { refused: `the API server does not accept the token (${verdict.error})` };
    if (!verdict.audiences.includes(audience)) return { refused: `the token is not meant for ${audience}` };
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
      until,
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

/**
 * When the token says that it ends, or why nobody need ask about it. Nothing is verified here: whoever passes is held against the API
 * server's word.
 */
function endOf(token: string, audience: string, now: number): number | Refused {
  const [, payload, signature, ...more] = token.split(".");
  const claims = payload && signature && more.length === 0 ? claimsOf(payload) : undefined;
  if (!claims) return { refused: "the token is no JWT" };
  const { aud, exp } = claims;
  if (!(Array.isArray(aud) ? aud : [aud]).includes(audience))
    return { refused: `the token is not meant for ${audience}` };
  if (typeof exp !== "number") return { refused: "the token does not say when it ends" };
  return exp * 1000 > now ? exp * 1000 : { refused: "the token has expired" };
}

function claimsOf(payload: string): { readonly aud?: unknown; readonly exp?: unknown } | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString());
    return typeof claims === "object" && claims !== null ? claims : undefined;
  } catch {
    return undefined;
  }
}
