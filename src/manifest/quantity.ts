/**
 * Kubernetes' quantities (`500m`, `1`, `1.5k`) as exact relative whole numbers, and Go's durations as seconds. Knows no kind.
 */

const SCALE: Readonly<Record<string, bigint>> = {
  n: 1n,
  u: 10n ** 3n,
  m: 10n ** 6n,
  "": 10n ** 9n,
  k: 10n ** 12n,
  M: 10n ** 15n,
  G: 10n ** 18n,
  T: 10n ** 21n,
  P: 10n ** 24n,
  E: 10n ** 27n,
  Ki: 10n ** 9n * 2n ** 10n,
  Mi: 10n ** 9n * 2n ** 20n,
  Gi: 10n ** 9n * 2n ** 30n,
  Ti: 10n ** 9n * 2n ** 40n,
  Pi: 10n ** 9n * 2n ** 50n,
  Ei: 10n ** 9n * 2n ** 60n,
};

/** Billionths; undefined when it is not a quantity, negative, or finer than a billionth. */
function billionths(quantity: string | number): bigint | undefined {
  const parts = /^\+?(\d{1,20})(?:\.(\d{0,9}))?(?:e([+-]?\d)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(String(quantity));
  if (!parts) return undefined;
  const [, whole = "", fraction = "", exponent, suffix = ""] = parts;
  const scale = SCALE[suffix];
  if (scale === undefined) return undefined;
  const ten = 10n ** BigInt(Math.abs(Number(exponent ?? 0)));
  const up = BigInt(whole + fraction) * scale * (Number(exponent ?? 0) > 0 ? ten : 1n);
  const down = 10n ** BigInt(fraction.length) * (Number(exponent ?? 0) < 0 ? ten : 1n);
  return up % down === 0n ? up / down : undefined;
}

/**
 * Whole numbers in exactly the ratio of the quantities: as written when all are whole, else the smallest such numbers.
 * Undefined when one is not a quantity, is negative, or a number would be too large to be exact.
 */
export function relativeWeights(quantities: readonly (string | number)[]): number[] | undefined {
  const values: bigint[] = [];
  for (const quantity of quantities) {
    const value = billionths(quantity);
    if (value === undefined) return undefined;
    values.push(value);
  }
  const one = 10n ** 9n;
  const unit = values.every((value) => value % one === 0n) ? one : values.reduce(gcd, 0n);
  const numbers = values.map((value) => Number(value / unit));
  return numbers.every(Number.isSafeInteger) ? numbers : undefined;
}

function gcd(a: bigint, b: bigint): bigint {
  while (b > 0n) [a, b] = [b, a % b];
  return a;
}

const UNITS: Readonly<Record<string, number>> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/** Seconds of a Go duration as `24h` or `1h30m`; undefined when it is none or negative. */
export function goDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (text.length > 100 || !/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, number, , unit] of text.matchAll(/(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    seconds += Number(number) * (UNITS[unit ?? ""] ?? 0);
  return seconds;
}
