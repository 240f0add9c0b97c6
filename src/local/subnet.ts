/**
 * Which addresses a run has: a /16 for pods and the /16 behind it for Services, out of 10.64.0.0/10. Arithmetic only.
 */

export interface Subnets {
  /** The second byte of the pods' subnet: even, 64 to 126. A run is known by it on this machine. */
  readonly index: number;
  /** `10.N.0.0/16`. */
  readonly pods: string;
  /** `10.(N+1).0.0/16`. */
  readonly services: string;
  /** The pods' default gateway. */
  readonly gateway: string;
  /** The host's address: control plane and name server. */
  readonly host: string;
  /** The address that probes come from, as they come from the kubelet in a cluster. */
  readonly prober: string;
}

export const subnetsOf = (index: number): Subnets => ({
  index,
  pods: `10.${index}.0.0/16`,
  services: `10.${index + 1}.0.0/16`,
  gateway: `10.${index}.0.1`,
  host: `10.${index}.0.2`,
  prober: `10.${index}.0.3`,
});

/** All choices, best first: those that no route of the host names, then those inside a wider route only (a VPN's 10.0.0.0/8, say). */
export function candidates(routes: readonly string[]): number[] {
  const parsed = routes.map(parseCidr).filter((r) => r !== undefined && r.bits > 0) as {
    address: number;
    bits: number;
  }[];
  const free: number[] = [];
  const covered: number[] = [];
  for (let index = 64; index < 128; index += 2) {
    // The pair of /16 is one /15.
    const own = { address: ((10 << 24) | (index << 16)) >>> 0, bits: 15 };
    const hits = parsed.filter((route) => overlaps(route, own));
    if (hits.length === 0) free.push(index);
    else if (hits.every((route) => route.bits < 15)) covered.push(index);
  }
  return [...free, ...covered];
}

function parseCidr(text: string): { address: number; bits: number } | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(text);
  if (!match) return undefined;
  const [a, b, c, d] = match.slice(1, 5).map(Number) as [number, number, number, number];
  return {
    address: ((a << 24) | (b << 16) | (c << 8) | d) >>> 0,
    bits: match[5] === undefined ? 32 : Number(match[5]),
  };
}

function overlaps(a: { address: number; bits: number }, b: { address: number; bits: number }): boolean {
  const bits = Math.min(a.bits, b.bits);
  const mask = bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0;
  return (a.address & mask) >>> 0 === (b.address & mask) >>> 0;
}

/** Hands out pods' addresses in turn, so that one that was freed is not soon somebody else's. */
export class Addresses {
  readonly #index: number;
  readonly #used = new Set<number>();
  #next = 0;

  constructor(index: number) {
    this.#index = index;
  }

  take(): string {
    // 10.N.1.1 to 10.N.254.254, without .0 and .255.
    for (let tries = 0; tries < SIZE; tries++) {
      const n = this.#next;
      this.#next = (n + 1) % SIZE;
      if (this.#used.has(n)) continue;
      this.#used.add(n);
      return `10.${this.#index}.${Math.floor(n / 254) + 1}.${(n % 254) + 1}`;
    }
    throw new Error("all addresses of the pods' subnet are in use");
  }

  free(address: string): void {
    const [, , c, d] = address.split(".").map(Number) as [number, number, number, number];
    this.#used.delete((c - 1) * 254 + d - 1);
  }
}

const SIZE = 254 * 254;
