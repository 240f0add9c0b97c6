/**
 * A bound on the bytes of requests that have come and are not answered yet: of everybody, and of one address.
 */

export class Arriving {
  readonly #most: number;
  readonly #mostOfOne: number;
  #all = 0;
  readonly #of = new Map<string, number>();

  constructor(most: number, mostOfOne: number) {
    this.#most = most;
    this.#mostOfOne = mostOfOne;
  }

  /** One request of an address: `take` says whether there is room for more of it. */
  of(address: string): { readonly take: (bytes: number) => boolean; readonly release: () => void } {
    let held = 0;
    const take = (bytes: number): boolean => {
      const own = (this.#of.get(address) ?? 0) + bytes;
      if (this.#all + bytes > this.#most || own > this.#mostOfOne) return false;
      held += bytes;
      this.#all += bytes;
      this.#of.set(address, own);
      return true;
    };
    const release = (): void => {
      const left = (this.#of.get(address) ?? 0) - held;
      this.#all -= held;
      held = 0;
      if (left <= 0) this.#of.delete(address);
      else this.#of.set(address, left);
    };
    return { take, release };
  }
}
