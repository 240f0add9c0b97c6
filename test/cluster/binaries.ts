/**
 * Kubernetes, CoreDNS and the pause container, built from the small Go modules in `go/` and kept by the hash of what they are made
 * from. Knows nothing of clusters.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { locate } from "../../src/local/command.ts";
import { cacheDirectory } from "./paths.ts";
import { ClusterError, exec } from "./exec.ts";

const SOURCES = join(import.meta.dirname, "go");

/** What `kubectl version` and helm's checks read; go.mod has the code. */
export const KUBERNETES_VERSION = "1.36.3";

export type Module = "kube" | "coredns" | "pause";

/** Seconds that a first build takes on two cores, to say so beforehand. */
const BUILD_SECONDS: Record<Module, number> = { kube: 400, coredns: 60, pause: 3 };

function linkerFlags(module: Module): string {
  const flags = ["-s", "-w"];
  if (module === "kube") {
    const [major, minor] = KUBERNETES_VERSION.split(".");
    for (const place of ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"])
      flags.push(
        `-X ${place}.gitVersion=v${KUBERNETES_VERSION}`,
        `-X ${place}.gitMajor=${major}`,
        `-X ${place}.gitMinor=${minor}`,
        `-X ${place}.gitTreeState=clean`,
      );
  }
  return flags.join(" ");
}

/** The hash of all that a binary is made from, but for the compiler. */
export function moduleHash(module: Module): string {
  const hash = createHash("sha256").update(linkerFlags(module)).update(process.arch);
  for (const name of ["go.mod", "go.sum", "main.go"]) {
    const path = join(SOURCES, module, name);
    if (existsSync(path)) hash.update(`\0${name}\0`).update(readFileSync(path));
  }
  return hash.digest("hex").slice(0, 16);
}

/** The binary's path; builds it when it is not in the cache. */
export async function binary(module: Module, say: (line: string) => void): Promise<string> {
  const path = join(cacheDirectory("bin"), `${module}-${moduleHash(module)}`);
  if (existsSync(path)) return path;
  const go = goCommand();
  const cwd = join(SOURCES, module);
  const env = { CGO_ENABLED: "0" };
  const seconds = BUILD_SECONDS[module];
  say(`building ${module} (about ${seconds < 60 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`}, once)`);
  const total = (await exec([go, "list", "-deps", "."], { cwd, env, timeout: 1_800_000 })).split("\n").length;
  const partial = `${path}.${process.pid}`;
  let packages = 0;
  const begin = performance.now();
  const timer = setInterval(() => say(`building ${module}: ${packages} of ${total} packages`), 15_000);
  try {
    // Beside other work: a developer's machine stays usable.
    await exec(
      ["nice", "-n", "10", go, "build", "-v", "-buildvcs=false", "-trimpath", "-ldflags", linkerFlags(module)].concat([
        "-o",
        partial,
        ".",
      ]),
      { cwd, env, timeout: 3_600_000, onLine: (line) => (packages += line.startsWith("go: ") ? 0 : 1) },
    );
    renameSync(partial, path);
  } finally {
    clearInterval(timer);
    rmSync(partial, { force: true });
  }
  say(`built ${module} in ${Math.round((performance.now() - begin) / 1000)} s`);
  return path;
}

function goCommand(): string {
  const path = [locate("go"), "/usr/local/go/bin/go"].find((p) => p !== undefined && existsSync(p));
  if (path !== undefined) return path;
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  throw new ClusterError(
    "Go 1.26 or newer is needed to build Kubernetes. Install it with:\n" +
      `  curl -fsSL https://go.dev/dl/go1.26.8.linux-${arch}.tar.gz | tar -C /usr/local -xz`,
  );
}
