/**
 * Follows a mesh and shows it: gathers flows, changes and notices, and draws them, on a terminal in place, else in lines.
 */
import type { LocalMesh } from "../up/mesh.ts";
import { identity, podName, type PodName } from "../world/names.ts";
import { parseAccessLine } from "./access-line.ts";
import { Flows, type Directory } from "./flows.ts";
import { liveLines } from "./live-view.ts";
import { PlainView } from "./plain-view.ts";
import { podRow } from "./rows.ts";
import { Screen, type Terminal } from "./screen.ts";
import { problemLine } from "./problem-line.ts";
import type { Event, View } from "./view.ts";

/** What is watched of a mesh. */
export type RunningMesh = Pick<
  LocalMesh,
  "id" | "runDir" | "debugPort" | "pods" | "problems" | "ready" | "onLine" | "onChange" | "stop"
>;

export interface WatchOptions {
  readonly dir: string;
  readonly out: Terminal & {
    on(event: "resize", run: () => void): unknown;
    off(event: "resize", run: () => void): unknown;
  };
  readonly color: boolean;
  /** Whether a table is redrawn in place. */
  readonly live: boolean;
}

/** Milliseconds between drawings. */
const EVERY = 500;
const KEPT = 20;
const SIDECAR = "envoy";

export class Watch {
  readonly #options: WatchOptions;
  readonly #screen: Screen;
  readonly #plain = new PlainView();
  readonly #flows: Flows;
  readonly #changes: Event[] = [];
  readonly #notices: Event[] = [];
  #directory: ReadonlyMap<PodName, string> = new Map();
  #addresses: ReadonlyMap<string, PodName> = new Map();
  #mesh: RunningMesh | undefined;
  /** Undefined until they are known: then every Service is taken to exist. */
  #services: ReadonlySet<string> | undefined;
  #ended = false;
  #last = 0;
  #end: (() => void)[] = [];

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#screen = new Screen(options.out);
    const directory: Directory = {
      identityOf: (pod) => this.#directory.get(pod),
      podAt: (ip) => this.#addresses.get(ip),
      hasService: (name) => this.#services?.has(name) ?? true,
    };
    this.#flows = new Flows({ now: Date.now, directory });
  }

  /** A line about what is done to the machine. */
  say(line: string): void {
    if (this.#mesh && !this.#ended) this.#note(this.#notices, line);
    else this.#options.out.write(`${line}\n`);
  }

  /** A line of the log: below the table while there is one, else on standard error. */
  logged(level: string, line: string, err: { write(text: string): unknown }): void {
    if (this.#mesh && !this.#ended && this.#options.live) this.#note(this.#notices, `${level}: ${line}`);
    else err.write(`${level}: ${line}\n`);
  }

  /** Shows the mesh from now on. `services` answers with the names of those that are in the mesh now. */
  begin(mesh: RunningMesh, services: () => Promise<readonly string[]>): void {
    if (this.#ended) return;
    this.#mesh = mesh;
    this.#learn();
    if (!this.#options.live) this.#options.out.write(`Mesh ${mesh.id} runs; debug pages at ${pages(mesh)}\n`);
    const refresh = (): void => {
      services().then(
        (names) => {
          this.#services = new Set(names);
        },
        // A control plane that was ended comes back; what was known holds until then.
        () => {},
      );
    };
    refresh();
    this.#end.push(
      mesh.onLine((pod, container, line) => {
        const parsed = container === SIDECAR ? parseAccessLine(line) : undefined;
        if (parsed) this.#flows.add(pod, parsed);
      }),
      mesh.onChange(({ changes }) => {
        for (const line of changes) this.#note(this.#changes, line);
        refresh();
        this.#draw();
      }),
    );
    const timer = setInterval(() => this.#draw(), EVERY);
    const resize = (): void => {
      this.#screen.resized();
      this.#draw();
    };
    this.#options.out.on("resize", resize);
    this.#end.push(
      () => clearInterval(timer),
      () => this.#options.out.off("resize", resize),
    );
    this.#draw();
  }

  /** Shows no more, and gives the terminal back. May be called again. */
  end(): void {
    this.#ended = true;
    for (const end of this.#end.splice(0)) end();
    this.#screen.leave();
  }

  #note(events: Event[], text: string): void {
    // Each has a time of its own, so that none is taken for one that was shown.
    this.#last = Math.max(Date.now(), this.#last + 0.001);
    events.push({ at: this.#last, text });
    if (events.length > KEPT) events.shift();
  }

  #learn(): void {
    const pods = this.#mesh?.pods() ?? [];
    const name = ({ metadata }: (typeof pods)[number]["manifest"]): PodName =>
      podName(metadata.namespace, metadata.name);
    this.#directory = new Map(
      pods.map(({ manifest }) => [
        name(manifest),
        identity(manifest.metadata.namespace, manifest.spec.serviceAccountName),
      ]),
    );
    this.#addresses = new Map(
      pods.flatMap(({ manifest, status }) => (status?.ip === undefined ? [] : [[status.ip, name(manifest)] as const])),
    );
  }

  #draw(): void {
    if (this.#ended || !this.#mesh) return;
    this.#learn();
    const view = this.#view(this.#mesh);
    const { live, color, out } = this.#options;
    if (live) this.#screen.draw(liveLines(view, { ...this.#screen.size, color }));
    else for (const line of this.#plain.lines(view)) out.write(`${line}\n`);
  }

  #view(mesh: RunningMesh): View {
    const problems = [...mesh.problems()].sort((a, b) =>
      a.severity < b.severity ? -1 : a.severity > b.severity ? 1 : 0,
    );
    return {
      dir: this.#options.dir,
      id: mesh.id,
      now: Date.now(),
      url: pages(mesh),
      pods: mesh.pods().map(({ manifest, status }) => podRow(manifest, status)),
      flows: this.#flows.rows(),
      dropped: this.#flows.dropped,
      problems: problems.map(problemLine),
      changes: this.#changes,
      notices: this.#notices,
    };
  }
}

const pages = (mesh: RunningMesh): string => `http://127.0.0.1:${mesh.debugPort}/debug/`;
