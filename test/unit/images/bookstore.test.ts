/** The bookstore example: the same mesh as OSM's demo, and programs that do what its programs do. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { loadAll } from "js-yaml";
import { afterEach, describe, expect, test } from "vitest";
import { readImages } from "../../../src/local/images.ts";

const ROOT = join(import.meta.dirname, "../../..");
const EXAMPLE = join(ROOT, "examples/bookstore");
const OSM = resolve(ROOT, process.env["HEDDLE_OSM_MANIFESTS"] ?? "../shared/osm-manifests");

// oxlint-disable-next-line typescript/no-explicit-any -- YAML of any shape
type Loose = any;
const read = (...patterns: string[]): Loose[] =>
  globSync(patterns).flatMap((file) => loadAll(readFileSync(file, "utf8")).filter((object) => object !== null));

/** What policy asks of an object, under its name: formatting, comments and scheduling left out. */
function essence(objects: Loose[]): Record<string, unknown> {
  const known = objects.map((object): [string, unknown] => {
    const { kind, metadata, spec = {} } = object;
    const template = spec.template?.spec;
    return [
      `${kind} ${metadata.namespace ?? ""}/${metadata.name}`,
      template
        ? {
            replicas: spec.replicas,
            selector: spec.selector,
            serviceName: spec.serviceName,
            labels: spec.template.metadata.labels,
            serviceAccount: template.serviceAccountName,
            containers: template.containers.map(({ name, image, command, args, ports, env }: Loose) => {
              // The thief is told by what it is refused with, and that is 403 here.
              const variables = env?.map((e: Loose) => (e.name === "BOOKTHIEF_EXPECTED_RESPONSE_CODE" ? e.name : e));
              return { name, image, command, args, ports, env: variables };
            }),
          }
        : kind === "HTTPRouteGroup"
          ? { matches: spec.matches.toSorted((a: Loose, b: Loose) => (a.name < b.name ? -1 : 1)) }
          : kind === "TrafficTarget"
            ? { ...spec, rules: spec.rules.map((rule: Loose) => ({ ...rule, matches: rule.matches?.toSorted() })) }
            : { spec, labels: kind === "Service" ? metadata.labels : undefined },
    ];
  });
  return Object.fromEntries(known.sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe("beside OSM's manifests", () => {
  const there = existsSync(OSM);
  if (!there && process.env["CI"] !== "true") {
    console.warn(
      `SKIPPED: there is no folder ${OSM}; set HEDDLE_OSM_MANIFESTS to OSM's demo manifests to compare the example with them`,
    );
  }

  test.skipIf(!there && process.env["CI"] !== "true")(
    "objects, ports, accounts, selectors, containers and policies are the same",
    () => {
      const osm = read(
        join(OSM, "apps/*.yaml"),
        join(OSM, "access/traffic-access-v1.yaml"),
        join(OSM, "split/traffic-split-50-50.yaml"),
      );
      expect(osm.length).toBeGreaterThan(20);
      const ours = read(join(EXAMPLE, "*.yaml")).filter(({ kind }) => kind !== undefined && kind !== "Kustomization");
      expect(essence(ours)).toEqual(essence(osm));
    },
  );

  test.skipIf(!there && process.env["CI"] !== "true")(
    "images.yaml has a command for every image of theirs",
    async () => {
      const { images } = await readImages({ folder: EXAMPLE });
      const containers = read(join(OSM, "apps/*.yaml")).flatMap(
        (object) => object.spec?.template?.spec.containers ?? [],
      );
      expect(containers.length).toBe(6);
      expect(containers.filter(({ image }) => !images.find(image))).toEqual([]);
    },
  );
});

test("a cluster gets every manifest, and no image that is OSM's", () => {
  const files = globSync("*.yaml", { cwd: EXAMPLE }).filter((name) => !/^(images|kustomization)\.yaml$/.test(name));
  const [kustomization] = read(join(EXAMPLE, "kustomization.yaml"));
  expect(kustomization.resources.toSorted()).toEqual(files.toSorted());
  const used = read(join(EXAMPLE, "*.yaml"))
    .flatMap(({ spec }) => spec?.template?.spec.containers ?? [])
    .map(({ image }: Loose) => image.split(":")[0]);
  const replaced = kustomization.images.map(({ name }: Loose) => name);
  expect(new Set(replaced)).toEqual(new Set(used));
});

test("images.yaml is without mistakes, and every program in it exists", async () => {
  const { images, problems } = await readImages({ folder: EXAMPLE });
  expect(problems).toEqual([]);
  for (const app of ["bookbuyer", "bookthief", "bookstore", "bookwarehouse"]) {
    const [program, file] = images.find(`openservicemesh/${app}:latest-main`)!.command;
    expect(program).toBe("node");
    expect(existsSync(join(EXAMPLE, file!)), file).toBe(true);
  }
});

describe("the programs", () => {
  const started: ChildProcess[] = [];
  afterEach(async () => {
    const gone = started
      .filter((child) => child.exitCode === null && child.signalCode === null)
      .map((child) => once(child, "exit"));
    for (const child of started.splice(0)) child.kill("SIGKILL");
    await Promise.all(gone);
  });

  /** Starts a program; `saw` resolves with the first line that fits, also one that was said before. */
  function start(app: string, redirect: Record<string, number>, env: Record<string, string> = {}, ...args: string[]) {
    const rules = Object.entries(redirect).map(([name, port]) => `${name}=${port}`);
    const preload = ["--import", join(import.meta.dirname, "redirect-connections.mjs")];
    const child = spawn(process.execPath, [...preload, join(EXAMPLE, "apps", `${app}.ts`), ...args], {
      env: { REDIRECT: rules.join(","), REQUEST_INTERVAL: "20", ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    started.push(child);
    const lines: string[] = [];
    const waiting = new Set<() => void>();
    createInterface(child.stdout).on("line", (line) => {
      lines.push(line);
      for (const wake of waiting) wake();
    });
    const saw = (pattern: RegExp): Promise<string> =>
      new Promise((found) => {
        const look = (): void => {
          const line = lines.find((said) => pattern.test(said));
          if (line === undefined) return;
          waiting.delete(look);
          found(line);
        };
        waiting.add(look);
        look();
      });
    const port = async (): Promise<number> => Number(/port (\d+)/.exec(await saw(/listens on port/))?.[1]);
    return { child, saw, port };
  }

  /**
   * A port on which nobody listens until the test's own database does. Not one that the kernel gave and took back: tests beside this one
   * ask the kernel for ports all the time, and it gives them from 32,768 on.
   */
  const free = async (): Promise<number> => {
    for (;;) {
      const port = 20_000 + Math.floor(Math.random() * 10_000);
      const server = createServer().listen(port);
      const taken = await new Promise((resolve) => {
        server.once("listening", () => resolve(false)).once("error", () => resolve(true));
      });
      if (taken) continue;
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  };

  const total = async (port: number): Promise<number> => {
    const socket = connect(port, "127.0.0.1");
    socket.end("GET\n");
    const said = await text(socket);
    expect(said).toMatch(/^BOOKS 1\nTOTAL \d+\n$/);
    return Number(/TOTAL (\d+)/.exec(said)?.[1]);
  };

  test("a sale goes all the way to the database, which may come and go", async () => {
    const database = await free();
    const warehouse = start(
      "bookwarehouse",
      { "mysql.stock:3306": database },
      { BOOKWAREHOUSE_NAMESPACE: "stock" },
      "--port",
      "0",
    );
    const warehousePort = await warehouse.port();
    await warehouse.saw(/database mysql.stock:3306 is not there: ECONNREFUSED/);
    const store = start(
      "bookstore",
      { "bookwarehouse.stock:14001": warehousePort },
      { BOOKWAREHOUSE_NAMESPACE: "stock", IDENTITY: "bookstore-v1" },
      "--port",
      "0",
    );
    const storePort = await store.port();
    const buyer = start(
      "bookbuyer",
      { "books.shop:14001": storePort },
      { BOOKSTORE_SVC: "books", BOOKSTORE_NAMESPACE: "shop" },
    );
    await buyer.saw(/GET http:\/\/books\.shop:14001\/buy-a-book\/new: 200 from bookstore-v1/);
    await buyer.saw(/GET http:\/\/books\.shop:14001\/books-bought: 200 from bookstore-v1/);

    const first = start("database", {}, {}, "--port", String(database));
    await first.port();
    await warehouse.saw(/database mysql.stock:3306 is there/);
    await expect.poll(() => total(database)).toBeGreaterThan(0);

    first.child.kill("SIGTERM");
    expect((await once(first.child, "exit"))[0]).toBe(0);
    // Reset, when the warehouse was just writing.
    await warehouse.saw(/is not there: (?:it closed the connection|ECONNRESET|EPIPE)/);
    const answer = await fetch(`http://127.0.0.1:${warehousePort}/restock-books`, { method: "POST", body: "2" });
    expect([answer.status, answer.headers.get("identity")]).toEqual([200, "bookwarehouse"]);

    const said = await fetch(`http://127.0.0.1:${storePort}/books-bought`);
    expect(said.headers.get("identity")).toBe("bookstore-v1");
    expect(Number(said.headers.get("booksbought"))).toBeGreaterThan(0);
    store.child.kill("SIGTERM");
    expect((await once(store.child, "exit"))[0]).toBe(0);
    await buyer.saw(/no answer E/);
    expect(buyer.child.exitCode).toBeNull();
  });

  test("the thief survives a shop that is not there, and says what it expected", async () => {
    const port = await free();
    const thief = start(
      "bookthief",
      { "bookstore.bookstore:14001": port },
      { BOOKTHIEF_EXPECTED_RESPONSE_CODE: "503" },
    );
    await thief.saw(/buy-a-book\/new: no answer ECONNREFUSED \(expected 503\)/);
    const store = start("bookstore", {}, {}, `--port=${port}`);
    await store.port();
    await thief.saw(/buy-a-book\/new: 200 from bookstore \(expected 503\)/);
  });

  test.each([
    ["POST", "/restock-books", "many", 400],
    ["POST", "/restock-books", "-1", 400],
    ["GET", "/nothing", undefined, 404],
    ["GET", "/readiness", undefined, 200],
  ])("bookwarehouse: %s %s %s → %d", async (method, path, body, status) => {
    const warehouse = start("bookwarehouse", { "mysql.bookwarehouse:3306": 1 }, {}, "--port", "0");
    const answer = await fetch(`http://127.0.0.1:${await warehouse.port()}${path}`, {
      method,
      ...(body !== undefined && { body }),
    });
    expect(answer.status).toBe(status);
  });
});
