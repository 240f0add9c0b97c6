/**
 * Puts into the chart what it has from elsewhere: copies of `crds/`, and the rights to read what `src/manifest/kinds.ts` lists.
 * helm reads nothing outside of a chart's folder. A test fails when somebody forgot to run it.
 *
 *     node scripts/chart.ts
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isPolicy, KINDS } from "../src/manifest/kinds.ts";

const ROOT = resolve(import.meta.dirname, "..");

/** Path in the chart's folder `files` → content. */
export function chartFiles(): ReadonlyMap<string, string> {
  const crds = readdirSync(join(ROOT, "crds")).filter((name) => name.endsWith(".yaml"));
  return new Map([
    ...crds.map((name) => [`crds/${name}`, readFileSync(join(ROOT, "crds", name), "utf8")] as const),
    ["watched-kinds.yaml", watchedKinds()] as const,
  ]);
}

function watchedKinds(): string {
  const groups = [...new Set(KINDS.map(({ group }) => group))];
  const rule = (group: string, suffix: string, verbs: string): string => {
    const plurals = KINDS.filter((kind) => kind.group === group).map(({ plural }) => plural + suffix);
    return `  - { apiGroups: [${JSON.stringify(group)}], resources: [${plurals.join(", ")}], verbs: [${verbs}] }`;
  };
  return [
    "# Made by scripts/chart.ts from src/manifest/kinds.ts: run it after a change there.",
    "watch:",
    ...groups.map((group) => rule(group, "", "get, list, watch")),
    "status:",
    ...groups.filter((group) => isPolicy({ group })).map((group) => rule(group, "/status", "patch")),
    "",
  ].join("\n");
}

if (import.meta.main) {
  const folder = join(ROOT, "charts/heddle/files");
  rmSync(join(folder, "crds"), { recursive: true, force: true });
  for (const [path, content] of chartFiles()) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}
