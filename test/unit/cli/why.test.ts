/** `heddle why` on a folder: what it prints, its exit codes, and what it says of names that are not there. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callOf, wordsOf } from "../../../src/cli/call.ts";
import { loadFiles, type View } from "../../../src/cli/load.ts";
import { worldOf } from "../../../src/cli/load-live.ts";
import { answerOf } from "../../../src/cli/why-answer.ts";
import { answerLine, answerText } from "../../../src/cli/why-text.ts";
import { plain } from "../../../src/dashboard/plain.ts";
import { folder } from "./folder.ts";

let made: ReturnType<typeof folder>;
let view: View;
beforeAll(async () => {
  made = folder({ weights: [1, 3] });
  view = await loadFiles(made.dir);
});
afterAll(() => made.remove());

const ask = (line: string, eachPod = false) => {
  const words = wordsOf(line);
  return answerOf(view, { from: words.from, to: words.to, call: callOf(view, words) }, eachPod);
};
const text = (line: string, eachPod = false): string =>
  answerText(ask(line, eachPod), (_, one) => one).replaceAll(`${made.dir}/`, "");

describe("text", () => {
  test("of an allowed call: verdict, backends, what is refused, and the trail with file and line", () => {
    expect(text("shop/buyer shop/store GET /buy")).toBe(
      [
        "allowed   shop/buyer → shop/store GET /buy",
        "75% of the calls, which go to shop/store-v2, are refused: no TrafficTarget lets the caller do it.",
        "",
        "BACKENDS",
        "  shop/store-v1   25%",
        "",
        "WHY",
        "  Service shop/store: port 80 speaks HTTP   services.yaml:5",
        "  └ TrafficSplit shop/split: takes it, and sends 25% to store-v1, 75% to store-v2   split.yaml:5",
        "    └ TrafficTarget shop/buy: lets shop/buyer call shop/store-v1   access.yaml:12",
        "      └ HTTPRouteGroup shop/routes: match buy fits: GET, path /buy   access.yaml:5",
      ].join("\n"),
    );
  });

  test("of a denied call: what the caller sees, and what would allow it", () => {
    expect(text("shop/store-v2 shop/store-v1:80 GET /buy")).toContain(
      [
        "denied   shop/store-v2 → shop/store-v1:80 GET /buy",
        "no TrafficTarget lets shop/store-v2 do GET /buy on shop/store-v1:80, nor call it at all. The caller sees 403.",
      ].join("\n"),
    );
    expect(text("shop/store-v2 shop/store-v1:80 GET /buy")).toContain(
      "  allowed by shop/buy if the source were shop/buyer (the path matches /buy, the method is GET)   access.yaml:12",
    );
  });

  test("of each pod, and in one line", () => {
    expect(text("shop/buyer shop/store GET /buy", true)).toMatch(
      /POD +BACKEND +VERDICT +WHY\nshop\/store-v1-0 +shop\/store-v1 +allowed +TrafficTarget shop\/buy, match buy of HTTPRouteGroup shop\/routes\nshop\/store-v2-0 +shop\/store-v2 +denied +no TrafficTarget/,
    );
    expect(answerLine(ask("shop/buyer shop/store-v2 GET /buy"), (_, one) => one)).toMatch(
      /^denied {8}shop\/buyer → shop\/store-v2 GET \/buy {3}no TrafficTarget/,
    );
  });
});

test("JSON has weights in percent, the trail with places, and what comes near", () => {
  const answer = ask("shop/buyer shop/store DELETE /buy -H 'x-a: 1'");
  expect(answer).toMatchObject({ verdict: "denied", answer: 403, backends: [], method: "DELETE" });
  expect(answer.trail[0]).toMatchObject({
    kind: "Service",
    name: "store",
    file: join(made.dir, "services.yaml"),
    line: 5,
  });
  expect(answer.nearest[0]).toMatchObject({
    kind: "TrafficTarget",
    name: "buy",
    match: { kind: "HTTPRouteGroup", match: "buy" },
    differs: [{ what: "method", says: "the method were GET and not DELETE" }],
  });
  expect(ask("shop/buyer shop/store GET /buy")).toMatchObject({
    backends: [{ service: "shop/store-v1", weight: 25 }],
    refusing: [{ service: "shop/store-v2", weight: 75 }],
  });
});

describe("names", () => {
  test.each([
    [
      "shop/buier shop/store GET /",
      'There is no ServiceAccount "shop/buier". No pod runs as it and no TrafficTarget names it. Did you mean shop/buyer?',
    ],
    ["shop/buyer shop/stor GET /", 'There is no Service "shop/stor". Did you mean shop/store?'],
    ["shop/buyer shop/pod/stoor-v1-0:80 GET /", "Did you mean shop/pod/store-v1-0?"],
    ["shop/buyer shop/pod/store:80 GET /", '"store" may be any of these pods: store-v1-0, store-v2-0.'],
    ["shop/buyer shop/pod/store-v1-0 GET /", "Give the pod's port"],
    ["shop/buyer shop/store:web GET /", 'has no port called "web". There are: 80 (http).'],
    ["shop/buyer shop/store GET", "Give a path behind the method: GET /"],
    ["shop/buyer shop/store /buy", "Give the method before the path: GET /buy"],
    ["shop/buyer shop/store GET buy", '"buy" is no path: it must begin with "/".'],
    ["shop/buyer shop/store GET '/a b'", "write %20 for a blank"],
    ["shop/buyer shop/store G@T /", '"G@T" cannot be a method'],
    ["shop/buyer shop/store GET / -H nothing", '"nothing" is no header'],
    ["shop/buyer shop/store -H a:b", "give METHOD and PATH too"],
    ["buyer shop/store", "FROM is NAMESPACE/SERVICEACCOUNT"],
    ["shop/buyer store", "TO is NAMESPACE/SERVICE[:PORT]"],
    ["shop/buyer", "A call is FROM TO"],
    ["shop/buyer shop/store GET / more", "A call is FROM TO"],
    ["shop/buyer 'shop/store GET /", "A quotation mark is not closed"],
  ])("%s", (line, says) => {
    expect(() => ask(line)).toThrow(says);
  });

  test("pods, port names and outside are understood", () => {
    expect(ask("shop/pod/buyer shop/store:http GET /buy").verdict).toBe("allowed");
    expect(ask("outside shop/store GET /buy")).toMatchObject({ verdict: "denied", answer: 403 });
    expect(ask("shop/buyer shop/pod/store-v1:80 GET /buy").verdict).toBe("not-routed");
  });

  test("words are taken apart as a shell does", () => {
    expect(wordsOf(`  a/b  c/d GET "/x y" -H 'n: "v"' -H a\\ b:c`)).toEqual({
      from: "a/b",
      to: "c/d",
      method: "GET",
      path: "/x y",
      headers: ['n: "v"', "a b:c"],
    });
  });
});

const BIN = resolve(import.meta.dirname, "../../../bin/heddle");
const heddle = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((done) => {
    const env = { PATH: process.env["PATH"], HOME: made.dir };
    const child = execFile(BIN, args, { env }, (_, out, err) => done({ code: child.exitCode ?? -1, out, err }));
  });

describe("the command", () => {
  test("ends with 0 allowed, 1 not allowed, 2 could not tell", async () => {
    const code = async (...args: string[]) => (await heddle("why", ...args)).code;
    expect(await code("shop/buyer", "shop/store", "GET", "/buy", "-f", made.dir)).toBe(0);
    expect(await code("shop/buyer", "shop/store", "GET", "/sell", "-f", made.dir)).toBe(1);
    expect(await code("shop/buyer", "shop/store:81", "GET", "/buy", "-f", made.dir)).toBe(1);
    expect(await code("shop/nobody", "shop/store", "GET", "/buy", "-f", made.dir)).toBe(2);
    expect(await code("shop/buyer", "shop/store", "GET", "/buy", "-f", `${made.dir}/none`)).toBe(2);
    expect(await code("shop/buyer", "-f", made.dir)).toBe(2);
    expect(await code("shop/buyer", "shop/store", "-f", made.dir, "-o", "xml")).toBe(2);
  });

  test("--calls answers a line each and ends with the highest code", async () => {
    const file = join(made.dir, "calls.txt");
    writeFileSync(file, "# two calls\nshop/buyer shop/store GET /buy\n\nshop/buyer shop/store GET /sell\n");
    const good = await heddle("why", "--calls", file, "-f", made.dir);
    expect([
      good.code,
      good.out
        .trim()
        .split("\n")
        .map((line) => line.split(" ")[0]),
    ]).toEqual([1, ["allowed", "denied"]]);
    const json = await heddle("why", "--calls", file, "-f", made.dir, "-o", "json");
    expect(
      json.out
        .trim()
        .split("\n")
        .map((line) => (JSON.parse(line) as { verdict: string }).verdict),
    ).toEqual(["allowed", "denied"]);
    writeFileSync(file, "shop/buyer shop/store GET /buy\nshop/buyer shop/stor GET /buy\n");
    const bad = await heddle("why", "--calls", file, "-f", made.dir);
    expect(bad.code).toBe(2);
    expect(bad.err).toContain(`${file}:2: There is no Service "shop/stor". Did you mean shop/store?`);
    expect((await heddle("why", "a/b", "--calls", file, "-f", made.dir)).err).toContain(
      "give none on the command line",
    );
  });

  test("--calls with a folder or no such file says what it wants", async () => {
    for (const [path, why] of [
      [made.dir, "this is a folder"],
      [`${made.dir}/none`, "there is no such file"],
    ] as const) {
      const { code, err } = await heddle("why", "--calls", path, "-f", made.dir);
      expect(err).toBe(
        `heddle: --calls ${path}: ${why}. Give a file with a call on each line, as FROM TO [METHOD PATH] [-H 'name: value']; manifests are named by -f.\n`,
      );
      expect(code).toBe(2);
    }
  });
});

test("a world that went over a socket as JSON is the same to every question", () => {
  const tables = JSON.parse(JSON.stringify(plain(view.world))) as { tables: Parameters<typeof worldOf>[0] };
  const again = worldOf(tables.tables);
  expect(again.tables.Pod.get("shop")?.size).toBe(3);
  expect(plain(again)).toEqual(plain(view.world));
});
