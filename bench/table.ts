/**
 * How the benchmarks print: quantiles, and tables whose rows are plain objects. Knows nothing of what is measured.
 */

/** The value below which this share of them lies; 0 of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

export const p50 = (values: readonly number[]): number => quantile(values, 0.5);
export const p99 = (values: readonly number[]): number => quantile(values, 0.99);

/** Rounded to so many digits behind the point. */
export const rounded = (value: number, digits = 1): number => Number(value.toFixed(digits));

export type Row = Readonly<Record<string, string | number>>;

/** Prints a table under a title: numbers to the right, the widest cell decides. */
export function print(title: string, rows: readonly Row[], notes: readonly string[] = []): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) => columns.map((column) => cell(row[column])));
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((line) => line[i]?.length ?? 0)));
  const right = columns.map((column) => rows.every((row) => typeof row[column] !== "string"));
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => (right[i] ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  console.log(`\n${title}`);
  console.log(line(columns));
  for (const texts of cells) console.log(line(texts));
  for (const note of notes) console.log(`  ${note}`);
}

const cell = (value: string | number | undefined): string => (value === undefined ? "-" : String(value));
