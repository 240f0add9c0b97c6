/**
 * What is run on this machine in place of a container's image: `images.yaml`, and the stand-in for what it does not name.
 * Knows nothing of how processes are started.
 */
import { readFile } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { loadAll } from "js-yaml";
import { isRaw } from "../lib/json.ts";
import type { Container, PodManifest } from "../world/pod.ts";
import type { Problem, ProblemCode } from "../world/types.ts";
import { environment, expand } from "./environment.ts";

/** Name of the file within a folder of manifests. */
export const IMAGES_FILE = "images.yaml";
const MAX_SIZE = 1 << 20;

/** One entry of `images.yaml`. */
export interface ImageMapping {
  /** Image name; `*` stands for any characters, `?` for one. */
  readonly image: string;
  /** Stands for the image's entrypoint and the container's `command`; the container's `args` are appended. */
  readonly command: readonly string[];
  /** What the image would set: the container's own `env` wins. */
  readonly env: Readonly<Record<string, string>>;
  /** For readers. */
  readonly note?: string;
}

/** What to start for a container. */
export interface ContainerCommand {
  /** Program and arguments; never empty. */
  readonly argv: readonly [string, ...string[]];
  readonly cwd: string;
  /** All of it: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Whether no mapping fits and the stand-in takes the image's place. */
  readonly standIn: boolean;
}

/** The mappings of one file, in its order: the first that fits counts. */
export class ImageMap {
  /** Folder that commands run in, so that relative paths are relative to `images.yaml`. */
  readonly #folder: string;
  readonly #mappings: readonly { readonly pattern: RegExp; readonly mapping: ImageMapping }[];

  constructor(folder: string, mappings: readonly ImageMapping[]) {
    this.#folder = resolve(folder);
    this.#mappings = mappings.map((mapping) => ({ pattern: globPattern(mapping.image), mapping }));
  }

  find(image: string): ImageMapping | undefined {
    const names = spellings(image);
    return this.#mappings.find(({ pattern }) => names.some((name) => pattern.test(name)))?.mapping;
  }

  /** @param ip the pod's address, for `status.podIP`. */
  resolve(container: Container, pod: PodManifest, ip = ""): ContainerCommand {
    const mapping = this.find(container.image);
    const machine = { PATH: process.env["PATH"] ?? DEFAULT_PATH, HOME: "/" };
    if (!mapping) {
      const who = {
        POD_NAME: pod.metadata.name,
        POD_NAMESPACE: pod.metadata.namespace,
        POD_IP: ip,
        CONTAINER_NAME: container.name,
      };
      const argv = [process.execPath, STAND_IN, ...tcpPorts(container).map(String)] as const;
      return {
        argv: [...argv],
        cwd: "/",
        env: { ...environment({ pod, container, ip, base: machine }), ...who },
        standIn: true,
      };
    }
    const env = environment({ pod, container, ip, base: { ...machine, ...mapping.env } });
    const [program = "", ...rest] = mapping.command;
    const args = (container.args ?? []).map((arg) => expand(arg, env));
    return { argv: [this.#program(program), ...rest, ...args], cwd: this.#folder, env, standIn: false };
  }

  #program(name: string): string {
    if (name === "node") return process.execPath;
    return name.includes("/") && !isAbsolute(name) ? join(this.#folder, name) : name;
  }
}

const STAND_IN = join(import.meta.dirname, "stand-in.ts");
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const tcpPorts = (container: Container): number[] =>
  (container.ports ?? []).filter((port) => (port.protocol ?? "TCP") === "TCP").map((port) => port.containerPort);

/** The line that says that a stand-in runs. */
export function standInNotice(container: Container, pod: PodManifest): Problem {
  const ports = tcpPorts(container);
  const where =
    ports.length === 0
      ? "it declares no TCP port, so nothing listens"
      : `a stand-in answers on port ${ports.join(", ")}`;
  return {
    code: "no-image-mapping",
    severity: "hint",
    object: { kind: "Pod", namespace: pod.metadata.namespace, name: pod.metadata.name },
    path: `spec.containers[${pod.spec.containers.indexOf(container)}].image`,
    message: `image ${container.image} has no local command, so ${where}; name a command in ${IMAGES_FILE} to run one`,
  };
}

/** Reads the map: the file at `path`, or `images.yaml` in `folder`, which need not be there. Bad entries are left out and told of. */
export async function readImages(from: {
  readonly folder: string;
  readonly path?: string;
}): Promise<{ readonly images: ImageMap; readonly problems: readonly Problem[] }> {
  const file = from.path ?? join(from.folder, IMAGES_FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const none = new ImageMap(dirname(file), []);
    if (code === "ENOENT" && from.path === undefined) return { images: none, problems: [] };
    const reason = code === "ENOENT" ? "there is no such file" : message;
    return {
      images: none,
      problems: [problem(file, "unreadable", "", `${file} cannot be read: ${reason}; every image gets a stand-in`)],
    };
  }
  const { mappings, problems } = parseImages(text, file);
  return { images: new ImageMap(dirname(file), mappings), problems };
}

/** Decodes the text of an `images.yaml`. `file` is for messages. */
export function parseImages(
  text: string,
  file: string,
): { readonly mappings: readonly ImageMapping[]; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report = (code: ProblemCode, path: string, what: string) =>
    problems.push(problem(file, code, path, `${file}${path && `: ${path}`} ${what}`));
  const nothing = { mappings: [], problems };
  if (text.length > MAX_SIZE) {
    report("too-large", "", "is larger than 1 MB and is not read");
    return nothing;
  }
  let documents: unknown[];
  try {
    documents = loadAll(text);
  } catch (error) {
    const { reason, mark } = error as { reason?: string; mark?: { line: number } };
    const line = (mark?.line ?? 0) + 1;
    const message = `${file}:${line} is not YAML (${reason ?? "unknown reason"}), so no image has a local command; mend that line`;
    problems.push({ ...problem(file, "bad-yaml", "", message), line });
    return nothing;
  }
  if (documents.length > 1) {
    report(
      "bad-field",
      "",
      `has ${documents.length} documents instead of one and is not used; remove the lines of three dashes`,
    );
    return nothing;
  }
  const [document] = documents;
  if (document === undefined || document === null) return nothing;
  if (!isRaw(document) || !Array.isArray(document["images"])) {
    report("bad-field", "images", "must be a list of {image, command}");
    return nothing;
  }
  for (const field of Object.keys(document)) {
    if (field !== "images") report("unknown-field", field, "is no field of this file; it only has images");
  }
  const mappings = document["images"].flatMap((entry: unknown, i): ImageMapping[] => {
    const mapping = decodeMapping(entry, `images[${i}]`, report);
    return mapping ? [mapping] : [];
  });
  return { mappings, problems };
}

function decodeMapping(
  entry: unknown,
  path: string,
  report: (code: ProblemCode, path: string, what: string) => void,
): ImageMapping | undefined {
  if (!isRaw(entry)) {
    report("bad-field", path, "must be an object with image and command; the entry is left out");
    return undefined;
  }
  const { image, command, env = {}, note, ...others } = entry;
  for (const field of Object.keys(others)) {
    report(
      "unknown-field",
      `${path}.${field}`,
      "is no field of an entry (image, command, env, note) and has no effect",
    );
  }
  if (typeof image !== "string" || image === "") {
    const code = image === undefined ? "missing-field" : "bad-field";
    report(code, `${path}.image`, 'must be an image name such as "mysql:*"; the entry is left out');
    return undefined;
  }
  if (
    !Array.isArray(command) ||
    command.length === 0 ||
    !command.every((word) => typeof word === "string" && word !== "")
  ) {
    const code = command === undefined ? "missing-field" : "bad-field";
    report(
      code,
      `${path}.command`,
      "must be a list of words such as [node, server.ts] (numbers in quotes); the entry is left out",
    );
    return undefined;
  }
  if (!isRaw(env) || !Object.values(env).every((value) => typeof value === "string")) {
    report(
      "bad-field",
      `${path}.env`,
      "must be an object of texts (numbers and true in quotes); the entry is left out",
    );
    return undefined;
  }
  return { image, command, env: env as Record<string, string>, ...(typeof note === "string" && { note }) };
}

const problem = (file: string, code: ProblemCode, path: string, message: string): Problem => ({
  code,
  severity: "error",
  object: { kind: "ImageMap", namespace: "", name: basename(file) },
  path,
  message,
  file,
});

function globPattern(glob: string): RegExp {
  const source = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, ".*")
    .replace(/\?/g, ".");
  return new RegExp(`^${source}$`, "s");
}

/** As written, with the tag that is meant, and without the registry that is meant. */
function spellings(image: string): string[] {
  const short = image.replace(/^docker\.io\/(library\/)?/, "");
  const tagged = /[:@][^/]*$/.test(short) ? short : `${short}:latest`;
  return [...new Set([image, short, tagged])];
}
