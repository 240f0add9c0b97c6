/**
 * Makes `gen/`: TypeScript types and codecs of the Envoy messages that Heddle uses, from the .proto files that `@grpc/grpc-js-xds` ships.
 * Runs as npm's `prepare`, offline; knows nothing of `src/`.
 *
 *     node scripts/gen.ts [--force] [--out <folder>]
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { outputPatches, protoPatches, type Patch } from "../proto/patches.ts";

/** The files whose messages we name in code; everything that they import comes along, nothing else does. */
const roots: readonly string[] = [
  // The protocol and its resources.
  "envoy/service/discovery/v3/discovery.proto",
  "envoy/config/bootstrap/v3/bootstrap.proto",
  "envoy/config/cluster/v3/cluster.proto",
  "envoy/config/endpoint/v3/endpoint.proto",
  "envoy/config/listener/v3/listener.proto",
  "envoy/config/route/v3/route.proto",
  "envoy/extensions/transport_sockets/tls/v3/secret.proto",
  // Transport sockets and upstream options.
  "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
  "envoy/extensions/transport_sockets/tls/v3/tls.proto",
  "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
  // Listener filters.
  "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
  "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
  "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
  // Network filters.
  "envoy/extensions/filters/network/direct_response/v3/config.proto",
  "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
  "envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit.proto",
  "envoy/extensions/filters/network/ratelimit/v3/rate_limit.proto",
  "envoy/extensions/filters/network/rbac/v3/rbac.proto",
  "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
  // HTTP filters.
  "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
  "envoy/extensions/filters/http/health_check/v3/health_check.proto",
  "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
  "envoy/extensions/filters/http/lua/v3/lua.proto",
  "envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto",
  "envoy/extensions/filters/http/rbac/v3/rbac.proto",
  "envoy/extensions/filters/http/router/v3/router.proto",
  "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
  // Logs, traces, rate limits, credentials.
  "envoy/config/accesslog/v3/accesslog.proto",
  "envoy/extensions/access_loggers/file/v3/file.proto",
  "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto",
  "envoy/extensions/access_loggers/stream/v3/stream.proto",
  "envoy/config/trace/v3/zipkin.proto",
  "envoy/config/ratelimit/v3/rls.proto",
  "envoy/config/grpc_credential/v3/file_based_metadata.proto",
  "google/rpc/status.proto",
];

/**
 * ts-proto's options. `forceLong=number`: no 64-bit field that we set or read comes near 2^53 (durations, limits, ring sizes), a larger
 * one throws when decoded, and bigint would put `5n` into every duration. The type registry lets toJSON expand `Any`.
 * `outputPartialMethods=false`: every field is optional already, so a plain object is a message; saves 14 % of the bytes.
 */
const pluginOptions: readonly string[] = [
  "useOptionals=all",
  "oneof=unions-value",
  "outputTypeAnnotations=static-only",
  "outputTypeRegistry=true",
  "enumsAsLiterals=true",
  "importSuffix=.ts",
  "esModuleInterop=true",
  "outputServices=none",
  "outputJsonMethods=true",
  "outputPartialMethods=false",
  "useDate=false",
  "useExactTypes=false",
  "forceLong=number",
];

const project = resolve(import.meta.dirname, "..");
const packages = join(project, "node_modules");
const shipped = join(packages, "@grpc/grpc-js-xds/deps");
const protoFolders: readonly string[] = [
  join(shipped, "envoy-api"),
  join(shipped, "googleapis"),
  join(shipped, "xds"),
  join(shipped, "protoc-gen-validate"),
  join(project, "proto/overlay"),
];
/** Packages whose version decides the output. The lockfile pins their content, so the version stands for it. */
const makers: readonly string[] = ["@grpc/grpc-js-xds", "@bufbuild/buf", "ts-proto", "ts-proto-descriptors", "ts-poet"];
const stampName = ".stamp";

/** Hash over everything that decides what `generate` writes; equal hashes mean equal output. */
export function inputHash(): string {
  const hash = createHash("sha256");
  const own = readdirSync(join(project, "proto"), { recursive: true, encoding: "utf8" })
    .map((path) => join("proto", path))
    .filter((path) => /\.(proto|ts)$/.test(path));
  for (const path of ["scripts/gen.ts", ...own.toSorted()])
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(project, path)))
      .update("\0");
  for (const name of makers) {
    const { version } = JSON.parse(readFileSync(join(packages, name, "package.json"), "utf8")) as {
      version: string;
    };
    hash.update(`${name}@${version}\0`);
  }
  return hash.digest("hex");
}

/** The input hash that `out` was made from, or undefined when it was not made (or not to its end). */
export function stampOf(out: string): string | undefined {
  const path = join(out, stampName);
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
}

/** Makes `out` anew, whole or not at all: it is written beside and then renamed. Returns the number of TypeScript files. */
export function generate(out: string): number {
  const work = mkdtempSync(join(tmpdir(), "heddle-gen-"));
  const fresh = `${out}.new-${process.pid}`;
  try {
    const protos = join(work, "proto");
    copyClosure(protos);
    applyPatches(protos, protoPatches);
    const made = join(work, "out");
    runBuf(work, protos, made);
    applyPatches(made, outputPatches);
    const files = reachable(made);
    for (const file of files) copyText(join(made, file), join(fresh, file));
    writeFileSync(join(fresh, stampName), `${inputHash()}\n`);
    rmSync(out, { recursive: true, force: true });
    renameSync(fresh, out);
    return files.length;
  } finally {
    rmSync(work, { recursive: true, force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Copies the roots and what they import, so that files that Envoy ships but that do not compile are never seen. */
function copyClosure(target: string): void {
  const importLine = /^import (?:public |weak )?"([^"]+)";/gm;
  closure(roots, (path) => {
    const from = protoFolders.map((folder) => join(folder, path)).find((candidate) => existsSync(candidate));
    if (from === undefined) {
      if (path.startsWith("google/protobuf/")) return []; // comes with buf
      throw new Error(`no .proto file ${path}: not in @grpc/grpc-js-xds, not in proto/overlay`);
    }
    copyText(from, join(target, path));
    return [...readFileSync(from, "utf8").matchAll(importLine)].map((match) => match[1]!);
  });
}

/** The generated files that a root's file needs at run time. Files of annotations (validation rules, version marks) fall away here. */
function reachable(made: string): readonly string[] {
  const importLine = /^(?:import|export) [^;]*? from "(\.[^"]+)";/gm;
  const start = roots.map((root) => root.replace(/\.proto$/, ".ts"));
  return closure(start, (path) =>
    [...readFileSync(join(made, path), "utf8").matchAll(importLine)].map((match) => join(dirname(path), match[1]!)),
  );
}

/** Everything that can be reached from `start`, sorted; `next` is called once for each. */
function closure(start: readonly string[], next: (path: string) => readonly string[]): readonly string[] {
  const seen = new Set(start);
  for (const path of seen) for (const found of next(path)) seen.add(found); // a Set's loop also visits what is added during it
  return [...seen].toSorted();
}

function applyPatches(folder: string, patches: readonly Patch[]): void {
  for (const { file, find, replace } of patches) {
    const parts = readFileSync(join(folder, file), "utf8").split(find);
    if (parts.length !== 2)
      throw new Error(`proto/patches.ts: the text to replace occurs ${parts.length - 1} times in ${file}, not once`);
    writeFileSync(join(folder, file), parts.join(replace));
  }
}

/** buf compiles the .proto files and hands them to ts-proto; both come from node_modules, and a module without dependencies asks no network. */
function runBuf(work: string, protos: string, made: string): void {
  const local = [process.execPath, join(packages, "ts-proto/protoc-gen-ts_proto")];
  const plugin = {
    local,
    out: made,
    opt: pluginOptions,
    strategy: "all",
    include_imports: true,
    include_wkt: true,
  };
  const template = join(work, "buf.gen.json");
  writeFileSync(template, JSON.stringify({ version: "v2", plugins: [plugin] }));
  execFileSync(
    process.execPath,
    [join(packages, "@bufbuild/buf/bin/buf"), "generate", protos, "--template", template],
    {
      cwd: work,
      env: { ...process.env, BUF_CACHE_DIR: join(work, "cache") },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
}

/** Copies a text file with line ends of one kind: many shipped .proto files have CRLF, on which patches would not fit. */
function copyText(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, readFileSync(from, "utf8").replaceAll("\r\n", "\n"));
}

function main(): void {
  const { values } = parseArgs({
    options: {
      force: { type: "boolean", default: false },
      out: { type: "string", default: "gen" },
    },
  });
  const out = resolve(project, values.out);
  const missing = makers.filter((name) => !existsSync(join(packages, name, "package.json")));
  if (missing.length > 0) {
    // `npm ci --omit=dev` also runs prepare; a bundle needs no gen/.
    console.error(`gen: skipped, not installed: ${missing.join(", ")} (npm ci without --omit=dev makes gen/)`);
    return;
  }
  if (!values.force && stampOf(out) === inputHash()) return;
  const began = performance.now();
  const count = generate(out);
  console.error(`gen: ${count} files in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}

// Not import.meta.main: Node 22 runs this file too, and does not have it.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) main();
