/**
 * Makes `dist/heddle.js`: all of Heddle that runs in a cluster, in one file for Node 24. The same sources give the same bytes.
 * Beside it lies what only verbs for people need: Kubernetes' own client, which would triple every role's memory.
 * Local pods (`heddle up`) stay behind: they start programs from a checkout's files.
 *
 *     node scripts/bundle.ts [--out <file>]
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { build, type Metafile, type Plugin } from "esbuild";

const ROOT = resolve(import.meta.dirname, "..");
const source = (path: string): string => join(ROOT, "src", path);

/** What the bundle has instead of local pods. */
const INSTEAD_OF_LOCAL = `
import { UserError } from "../cli/errors.ts";
export async function startLocalMesh() {
  throw new UserError("heddle up is not in this image: it runs from a checkout, on Linux, as root.");
}
`;

const withoutLocalPods: Plugin = {
  name: "without-local-pods",
  setup(build) {
    build.onLoad({ filter: /\/src\/up\/mesh\.ts$/ }, () => ({
      contents: INSTEAD_OF_LOCAL,
      loader: "ts",
      resolveDir: source("up"),
    }));
  },
};

/** The version is read from package.json, which is not beside the bundle. */
const withVersion: Plugin = {
  name: "with-version",
  setup(build) {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    build.onLoad({ filter: /\/src\/cli\/version\.ts$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const contents = text.replace(
        /readFileSync\(new URL\("[./]*package\.json", import\.meta\.url\), "utf8"\)/,
        JSON.stringify(JSON.stringify({ version })),
      );
      if (contents === text && text.includes("readFileSync"))
        throw new Error(`${path} reads its version in a way that scripts/bundle.ts does not know: adapt it there.`);
      return { contents, loader: "ts" };
    });
  },
};

/** CommonJS packages ask for Node's own modules with `require`, which a module does not have. */
const BANNER = `import { createRequire as heddleCreateRequire } from "node:module";
const require = heddleCreateRequire(import.meta.url);
const __filename = import.meta.filename, __dirname = import.meta.dirname;`;

const CLIENT = "kubernetes-client.js";

const clientBeside: Plugin = {
  name: "client-beside",
  setup(build) {
    build.onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({ path: `./${CLIENT}`, external: true }));
  },
};

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node24",
  // Lines and names stay: with a fault, Node prints the line it happened in, and a stack trace names functions.
  minifySyntax: true,
  charset: "utf8",
  legalComments: "none",
  banner: { js: BANNER },
  metafile: true,
  logLevel: "silent",
} as const;

export interface Bundle {
  /** Bytes of `heddle.js`. */
  readonly bytes: number;
  /** Files that went into it, relative to the checkout. */
  readonly inputs: readonly string[];
}

/** Writes the bundle to `outfile`, and what belongs to it beside it. Throws with esbuild's message when a file does not compile. */
export async function bundle(outfile: string): Promise<Bundle> {
  const directory = dirname(outfile);
  mkdirSync(directory, { recursive: true });
  const { metafile } = await build({
    ...COMMON,
    entryPoints: ["src/cli/main.ts"],
    outfile,
    plugins: [withoutLocalPods, withVersion, clientBeside],
  });
  await build({
    ...COMMON,
    stdin: { contents: 'export * from "@kubernetes/client-node";', resolveDir: ROOT },
    outfile: join(directory, CLIENT),
  });
  // So that Node need not find out by parsing what kind of files these are.
  writeFileSync(join(directory, "package.json"), `${JSON.stringify({ type: "module" })}\n`);
  return { bytes: sizeOf(metafile), inputs: Object.keys(metafile.inputs).toSorted() };
}

const sizeOf = ({ outputs }: Metafile): number => Object.values(outputs).reduce((sum, { bytes }) => sum + bytes, 0);

if (import.meta.main) {
  const { values } = parseArgs({ options: { out: { type: "string", default: join(ROOT, "dist/heddle.js") } } });
  const outfile = resolve(values.out);
  const { bytes, inputs } = await bundle(outfile);
  process.stdout.write(`${outfile}: ${(bytes / 1e6).toFixed(2)} MB from ${inputs.length} files\n`);
}
