/**
 * `heddle up` as its user meets it: the command, what it prints, the commands beside it, and what it leaves behind, which is nothing.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDirectory, runIds } from "../../src/local/record.ts";
import { BOOKSTORE, cannotRunLive, IMAGES, lacking, ROOT, until } from "../support/live-mesh.ts";

const HEDDLE = join(ROOT, "bin/heddle");

class Up {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output = "";

  constructor(dir: string, id: string) {
    this.child = spawn(HEDDLE, ["up", dir, "--images", IMAGES, "--id", id], { stdio: ["ignore", "pipe", "pipe"] });
    this.exited = new Promise((resolve) => this.child.once("exit", resolve));
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on("data", (text: Buffer) => (this.output += text));
  }

  says(what: RegExp, ms = 60_000): Promise<unknown> {
    return until(`it says ${what}:\n${this.output}`, () => what.test(this.output), ms);
  }
}

/** Whatever on this machine bears the name of a run. */
const traces = (id: string): string[] => [
  ...execFileSync("ip", ["netns", "list"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.startsWith(`heddle-${id}`)),
  ...execFileSync("ip", ["-o", "link"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes(`-${id}`)),
  ...(existsSync("/etc/netns") ? readdirSync("/etc/netns").filter((name) => name.startsWith(`heddle-${id}`)) : []),
  ...readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => processText(pid).includes(runDirectory(id))),
  ...(existsSync(runDirectory(id)) ? [runDirectory(id)] : []),
];

function processText(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** A program that calls the shop and prints one thing of the answer. */
const get = (what: "identity" | "body"): string[] => [
  process.execPath,
  "-e",
  `fetch("http://bookstore.bookstore:14001/buy-a-book/new").then(async (r) => console.log(${what === "body" ? "await r.text()" : 'r.headers.get("identity")'}))`,
];

const heddle = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(HEDDLE, args, { encoding: "utf8", timeout: 30_000 });
  return { status, stdout, stderr };
};

describe.skipIf(lacking(cannotRunLive()))("heddle up", () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-up-"));
  const ups: Up[] = [];
  const start = (id: string) => {
    const up = new Up(dir, id);
    ups.push(up);
    return up;
  };
  let up: Up;

  beforeAll(async () => {
    cpSync(BOOKSTORE, dir, { recursive: true });
    up = start("t1");
    await up.says(/bookbuyer\/bookbuyer → bookstore\/bookstore:14001 \(bookstore-v2\).* 200×/);
  });
  afterAll(async () => {
    for (const one of ups) one.child.kill("SIGTERM");
    await Promise.all(ups.map((one) => one.exited));
    rmSync(dir, { recursive: true, force: true });
  });

  test("prints flows, the split's backends apart, and refused ones with the reason", async () => {
    await up.says(/\(bookstore-v1\).* 200×/);
    await up.says(
      /bookthief\/bookthief → bookstore\/bookstore:14001.* 403×.*no TrafficTarget lets bookthief\/bookthief/,
    );
  });

  test("an edit is told with its file within a second, and takes effect", async () => {
    const file = join(dir, "split.yaml");
    const before = up.output.length;
    const from = performance.now();
    writeFileSync(file, readFileSync(file, "utf8").replace(/bookstore-v1, weight: \d+/, "bookstore-v1, weight: 0"));
    await until(
      "the change is told",
      () => up.output.slice(before).includes("split.yaml: bookstore/bookstore split: bookstore-v1 50% → 0%"),
      5000,
    );
    expect(performance.now() - from).toBeLessThan(1000);
    const identity = () => heddle("exec", "bookbuyer", "--mesh", "t1", "--", ...get("identity")).stdout;
    for (let i = 0; i < 5; i++) expect(identity()).toBe("bookstore-v2\n");
  });

  test("why answers for what runs, as a call of the pod itself does, with the folder's lines", () => {
    const why = (from: string) =>
      heddle("why", from, "bookstore/bookstore:14001", "GET", "/buy-a-book/new", "--mesh", "t1", "-o", "json");
    const allowed = why("bookbuyer/bookbuyer");
    expect([allowed.status, allowed.stderr]).toEqual([0, ""]);
    const { verdict, trail } = JSON.parse(allowed.stdout) as {
      verdict: string;
      trail: { kind: string; file: string }[];
    };
    expect(verdict).toBe("allowed");
    expect(trail.slice(0, 2).map(({ kind, file }) => [kind, file])).toEqual([
      ["Service", join(dir, "bookstore.yaml")],
      ["TrafficSplit", join(dir, "split.yaml")],
    ]);
    const program = 'fetch("http://bookstore.bookstore:14001/buy-a-book/new").then((r) => console.log(r.status))';
    const called = heddle("exec", "bookthief", "--mesh", "t1", "--", process.execPath, "-e", program);
    const denied = why("bookthief/bookthief");
    expect([denied.status, called.stdout]).toEqual([1, "403\n"]);
    const { answer, nearest } = JSON.parse(denied.stdout) as {
      answer: number;
      nearest: { differs: { what: string }[] }[];
    };
    expect([answer, nearest[0]?.differs.map(({ what }) => what)]).toEqual([403, ["source"]]);
  });

  test("the commands beside it: get pods, exec, logs, proxy status, graph, translate", () => {
    const pods = JSON.parse(heddle("get", "pods", "--mesh", "t1", "-o", "json").stdout) as {
      name: string;
      ready: boolean;
    }[];
    expect(pods.map((p) => p.ready)).toEqual([true, true, true, true, true, true]);
    expect(heddle("get", "pods", "--mesh", "t1").stdout).toMatch(/^NAMESPACE +NAME +READY +STATUS/);
    const thief = heddle("exec", "bookthief", "--mesh", "t1", "--", ...get("body"));
    expect(thief.stdout).toMatch(/^heddle: no TrafficTarget lets /);
    expect(heddle("exec", "bookthief", "--mesh", "t1", "--", "sh", "-c", "id -u; exit 7")).toMatchObject({
      status: 7,
      stdout: "0\n",
    });
    expect(heddle("logs", "bookbuyer", "--mesh", "t1").stdout).toContain("200 from bookstore-v");
    const proxies = heddle("proxy", "status", "--mesh", "t1").stdout.trim().split("\n");
    expect(proxies[0]).toMatch(/^PROXY +TYPE +SENT +ACKED +NACKED +MESSAGE/);
    expect(proxies.length).toBeGreaterThan(18);
    const who = heddle("graph", "live", "--mesh", "t1", "--to", "bookstore/bookstore").stdout;
    expect(who).toMatch(/^bookbuyer\/bookbuyer +bookstore\/bookstore:14001 +bookstore-v[12] .*% +GET /m);
    const routes = heddle("translate", dir, "--stage", "xds", "--proxy", "bookbuyer/bookbuyer", "-o", "json");
    expect(routes.status).toBe(0);
    expect(routes.stdout).toContain("rds-outbound.14001");
    const unknown = heddle("logs", "nobody", "--mesh", "t1");
    expect(unknown.status).not.toBe(0);
    expect(unknown.stderr).not.toMatch(/^ +at /m);
  });

  test("a second one works beside it; the same id is refused in words", async () => {
    const second = start("t2");
    await second.says(/\(bookstore-v2\).* 200×/);
    const same = start("t1");
    expect(await same.exited).not.toBe(0);
    expect(same.output).toMatch(/"t1" is active/);
    second.child.kill("SIGINT");
    expect(await second.exited).toBe(0);
    expect(traces("t2")).toEqual([]);
    expect(up.child.exitCode).toBeNull();
  });

  test("after kill -9, the next start removes what was left", async () => {
    const killed = start("t3");
    await killed.says(/Mesh t3 runs/);
    killed.child.kill("SIGKILL");
    await killed.exited;
    expect(traces("t3")).not.toEqual([]);
    const next = start("t4");
    await next.says(/Mesh t4 runs/);
    expect(traces("t3")).toEqual([]);
    next.child.kill("SIGTERM");
    expect(await next.exited).toBe(0);
    expect(traces("t4")).toEqual([]);
  });

  test("Ctrl-C removes every process, namespace and file that it made", async () => {
    up.child.kill("SIGINT");
    expect(await up.exited).toBe(0);
    expect(up.output).toContain("stopping…");
    expect(traces("t1")).toEqual([]);
    expect(runIds()).not.toContain("t1");
  });

  test("without root, or without the folder, it says what to do, without a stack trace", () => {
    const nobody = spawnSync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", HEDDLE, "up", dir], {
      encoding: "utf8",
      cwd: "/",
    });
    expect(nobody.status).not.toBe(0);
    expect(`${nobody.stdout}${nobody.stderr}`).toMatch(/root/);
    expect(nobody.stderr).not.toMatch(/^ +at /m);
    const nowhere = heddle("up", join(dir, "nowhere"));
    expect(nowhere.status).not.toBe(0);
    expect(nowhere.stderr).toContain("There is no folder");
  });
});
