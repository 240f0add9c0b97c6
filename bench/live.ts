/**
 * Changes in the bookstore with real Envoys: from the rename of a YAML file to the last ACK, as the control plane sees it.
 * The moment of the last ACK is found by asking the control plane again and again, so it is late by up to one question.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { askSocket, socketPath } from "../src/cli/mesh-client.ts";
import type { ProxyRow } from "../src/cli/rows.ts";
import { BOOKSTORE, cannotRunLive, LiveMesh, text, until } from "../test/support/live-mesh.ts";
import { p50, p99, print, rounded, type Row } from "./table.ts";

/** Milliseconds that a write waits on purpose: the folder until it is quiet, then the policies; endpoints skip the second. */
const FOLDER_SETTLES = 15;
const POLICY_SETTLES = 20;
const LATE = 20_000;

const THIEF = /^ {4}# ( *(?:- )?(?:kind: ServiceAccount|name: bookthief|namespace: bookthief))$/gm;

interface Edit {
  readonly name: string;
  readonly file: string;
  /** The file's two texts, in turn. */
  readonly texts: readonly [string, string];
  readonly settles: number;
  readonly rounds: number;
  /** Only the way to this text is measured; on the way back pods start, which is something else. */
  readonly only?: 0 | 1;
}

export async function live(rounds: number): Promise<void> {
  const reason = cannotRunLive();
  if (reason !== undefined) {
    console.log(`\nReal Envoys: not measured, ${reason}.`);
    return;
  }
  const files = readdirSync(BOOKSTORE).filter((name) => name.endsWith(".yaml") && name !== "images.yaml");
  const mesh = await LiveMesh.start(Object.fromEntries(files.map((name) => [name, join(BOOKSTORE, name)])));
  try {
    await mesh.ready();
    const proxies = new Proxies(socketPath(mesh.mesh.runDir));
    await proxies.level();
    const rows: Row[] = [];
    for (const edit of edits(rounds)) rows.push(await measure(mesh, proxies, edit));
    print(`Bookstore with ${proxies.count} real Envoys: rename of the file to last ACK, ms`, rows, [
      "settles: what of it the folder and the policies wait on purpose",
      `asked every ${rounded(p50(proxies.asked), 1)} ms (p50), which is how exact it is`,
    ]);
  } finally {
    await mesh.stop();
  }
}

function edits(rounds: number): readonly Edit[] {
  const read = (file: string) => text(join(BOOKSTORE, file));
  const [split, access, store] = [read("split.yaml"), read("access.yaml"), read("bookstore.yaml")];
  const policy = { settles: FOLDER_SETTLES + POLICY_SETTLES, rounds };
  return [
    {
      ...policy,
      name: "weight",
      file: "split.yaml",
      texts: [split, changed(split, /weight: 50/, "weight: 10")],
    },
    {
      ...policy,
      name: "TrafficTarget: a source more, less",
      file: "access.yaml",
      texts: [access, changed(access, THIEF, "    $1")],
    },
    {
      name: "endpoint goes",
      file: "bookstore.yaml",
      texts: [store, changed(store, /replicas: 1/, "replicas: 2")],
      settles: FOLDER_SETTLES,
      rounds: Math.max(2, Math.round(rounds / 5)),
      only: 0,
    },
  ];
}

function changed(from: string, pattern: RegExp, to: string): string {
  const made = from.replace(pattern, to);
  if (made === from) throw new Error(`the bookstore's files have no ${String(pattern)} any more`);
  return made;
}

async function measure(mesh: LiveMesh, proxies: Proxies, edit: Edit): Promise<Row> {
  const { file, texts, only } = edit;
  const times: number[] = [];
  const known: (string | undefined)[] = [];
  /** Writes one of the texts, and waits until all have confirmed what it means. */
  const write = async (turn: 0 | 1): Promise<number> => {
    const start = performance.now();
    mesh.write(file, texts[turn]);
    const wanted = known[turn];
    if (wanted === undefined) {
      if (only !== undefined && only !== turn)
        await until("the new pod is ready", () => mesh.mesh.pods().length > proxies.count);
      if (only !== undefined) await mesh.ready();
      known[turn] = await proxies.level();
    } else await proxies.hold(wanted);
    return performance.now() - start;
  };
  // Away and back once, to learn by what each state is known.
  await write(1);
  await write(0);
  for (let round = 0; round < edit.rounds; round++) {
    for (const turn of [1, 0] as const) {
      if (only !== undefined && turn !== only) known[turn] = undefined;
      const took = await write(turn);
      if (only === undefined || turn === only) times.push(took);
    }
  }
  return {
    change: edit.name,
    rounds: times.length,
    p50: rounded(p50(times)),
    p99: rounded(p99(times)),
    settles: edit.settles,
    "p50 settled": rounded(p50(times) - edit.settles),
    "p99 settled": rounded(p99(times) - edit.settles),
  };
}

/** The proxies that were there first, and what they have confirmed. */
class Proxies {
  readonly #socket: string;
  #first: ReadonlySet<string> | undefined;
  /** Milliseconds that each question took. */
  readonly asked: number[] = [];

  constructor(socket: string) {
    this.#socket = socket;
  }

  get count(): number {
    return this.#first?.size ?? 0;
  }

  /** Resolves when nothing has moved for a while, with what has been confirmed. */
  async level(): Promise<string> {
    for (let before = ""; ;) {
      const now = await this.#confirmed();
      if (now !== undefined && now === before) {
        this.#first ??= new Set((await this.#rows()).map(({ id }) => id));
        return (await this.#confirmed()) ?? now;
      }
      before = now ?? "";
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
  }

  /** Resolves when exactly this is confirmed. */
  async hold(wanted: string): Promise<void> {
    const end = performance.now() + LATE;
    while ((await this.#confirmed()) !== wanted)
      if (performance.now() > end) throw new Error(`after ${LATE / 1000} s the proxies have not confirmed the change`);
  }

  /** Versions that have been confirmed, or undefined while a response is on its way. */
  async #confirmed(): Promise<string | undefined> {
    const rows = (await this.#rows()).filter(({ id }) => this.#first?.has(id) ?? true);
    const types = rows.flatMap(({ id, types: all }) =>
      Object.entries(all).map(([type, { sent, acked }]) => ({ key: `${id} ${type}`, sent, acked })),
    );
    if (types.some(({ sent, acked }) => sent !== acked)) return undefined;
    return types
      .map(({ key, acked }) => `${key} ${acked}`)
      .sort()
      .join("\n");
  }

  async #rows(): Promise<readonly ProxyRow[]> {
    if (!existsSync(this.#socket)) return [];
    const start = performance.now();
    const rows = await askSocket<readonly ProxyRow[]>(this.#socket, "/api/proxies");
    this.asked.push(performance.now() - start);
    return rows;
  }
}
