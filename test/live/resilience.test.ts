/**
 * What goes wrong while a mesh runs: the control plane dies, an Envoy dies, Envoy rejects a resource.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TypeStatus } from "../../src/ads/status.ts";
import { askSocket } from "../../src/cli/mesh-client.ts";
import type { ProxyRow } from "../../src/cli/rows.ts";
import { podName } from "../../src/world/names.ts";
import { readRecord } from "../../src/local/record.ts";
import { BAD_INPUT, GOOD } from "../bad-input/cases.ts";
import { BOOKSTORE, cannotRunLive, lacking, LiveMesh, text, until, type PodClient } from "../support/live-mesh.ts";

const BUY = "http://bookstore.bookstore:14001/buy-a-book/new";
const ACCESS = join(BOOKSTORE, "access.yaml");

/** Problems of a file as a whole: they have no line. */
const FILE_WIDE = new Set(["unreadable", "too-large", "bad-yaml"]);

describe.skipIf(lacking(cannotRunLive()))("a mesh in trouble", () => {
  let live: LiveMesh;
  let buyer: PodClient;

  const proxies = () => askSocket<ProxyRow[]>(join(live.mesh.runDir, "api.sock"), "/api/proxies").catch(() => []);
  const proxy = async (prefix: string) => (await proxies()).find((p) => p.pod?.split("/")[1]?.startsWith(prefix));
  /** All proxies are connected, and hold what they were sent. */
  const settled = () =>
    until("every proxy holds what it was sent", async () => {
      const rows = await proxies();
      const types = rows.flatMap<TypeStatus>((row) => Object.values(row.types));
      return (
        rows.length === 6 &&
        rows.every((row) => row.types.LDS) &&
        types.every((t) => t.acked === t.sent && t.pendingMs === undefined)
      );
    });
  const metric = async (name: string, labels: string): Promise<number> => {
    const page = await (await fetch(`http://127.0.0.1:${live.mesh.debugPort}/metrics`)).text();
    const line = page.split("\n").find((l) => l.startsWith(`${name}${labels}`));
    return line === undefined ? 0 : Number(line.split(" ").at(-1));
  };
  const buys = () => until("the buyer buys", async () => (await buyer.http(BUY)).status === 200);

  beforeAll(async () => {
    const files = ["bookbuyer", "bookthief", "bookstore", "bookwarehouse", "mysql", "access", "split"];
    live = await LiveMesh.start(
      Object.fromEntries(files.map((name) => [`${name}.yaml`, join(BOOKSTORE, `${name}.yaml`)])),
    );
    await live.ready();
    buyer = await live.client("bookbuyer");
    await buys();
    await settled();
  });
  afterAll(() => live?.stop());

  test("kill -9 of the control plane: traffic goes on; on return, nothing is sent again that has not changed", async () => {
    const load = await buyer.load(BUY, { workers: 2, pause: 5 });
    const before = new Map((await proxies()).map((row) => [row.pod, row.types]));
    const pid = live.mesh.controllerPid as number;
    process.kill(pid, "SIGKILL");
    await until(
      "another control plane runs",
      () => live.mesh.controllerPid !== undefined && live.mesh.controllerPid !== pid,
    );
    await settled();
    for (const type of ["CDS", "EDS", "LDS", "RDS"] as const) {
      expect(await metric("heddle_xds_resources_sent_total", `{type="${type}"}`), type).toBe(0);
    }
    // The one thing that is new: each stream's own certificate, where it has a use for one.
    const certified = (await proxies()).filter((row) => row.types.SDS).length;
    expect(certified).toBeGreaterThan(3);
    expect(await metric("heddle_xds_resources_sent_total", '{type="SDS"}')).toBe(certified);
    for (const row of await proxies()) {
      for (const type of ["CDS", "EDS", "LDS", "RDS"] as const)
        expect(row.types[type]?.acked, `${row.pod} ${type}`).toBe(before.get(row.pod)?.[type]?.acked);
    }
    const { errors, statuses } = await load.stop();
    expect(errors).toEqual([]);
    expect(statuses[200]).toBeGreaterThan(50);
    // And it governs again.
    live.write("access.yaml", text(ACCESS).replaceAll("name: bookbuyer", "name: nobody"));
    await until("the buyer is refused", async () => (await buyer.http(BUY)).status === 403);
    live.write("access.yaml", ACCESS);
    await buys();
  });

  test("an Envoy that is killed -9 comes back and is configured", async () => {
    const { metadata } = live.pod("bookstore-v2").manifest;
    const { netns } = readRecord(live.mesh.id)?.pods.find((p) => p.name === metadata.name) ?? { netns: "" };
    const pids = execFileSync("ip", ["netns", "pids", netns], { encoding: "utf8" }).trim().split("\n").map(Number);
    const envoy = pids.find((pid) => readlinkSync(`/proc/${pid}/exe`).includes("envoy")) as number;
    const since = (await proxy("bookstore-v2"))?.connectedSince;
    process.kill(envoy, "SIGKILL");
    await until("its successor is connected", async () => {
      const row = await proxy("bookstore-v2");
      return row !== undefined && row.connectedSince !== since && row.types.RDS !== undefined;
    });
    await settled();
    live.write("split.yaml", text(join(BOOKSTORE, "split.yaml")).replace(/(bookstore-v1[^}]*weight: )\d+/s, "$10"));
    await until("version 2 answers", async () => (await buyer.http(BUY)).headers["identity"] === "bookstore-v2");
    live.write("split.yaml", join(BOOKSTORE, "split.yaml"));
    await until("version 1 answers again", async () => (await buyer.http(BUY)).headers["identity"] === "bookstore-v1");
    await settled();
  });

  test("forty broken things in the folder are each named, and disturb no request", async () => {
    const load = await buyer.load(BUY, { workers: 2, pause: 5 });
    const inputs = BAD_INPUT.filter((input) => !input.make && !input.read && !input.unless);
    const names = inputs.flatMap((input, i) =>
      Object.keys(input.files).map(
        (file) => [`bad/${i}-${file.replaceAll("/", "-")}`, input.files[file] as string] as const,
      ),
    );
    for (const [name, content] of names) live.write(name, `${content}\n`);
    live.write("bad/good.yaml", GOOD);
    // Several cases have a TrafficSplit of the same name: in one folder only the first is read.
    const codes = new Set(
      inputs.filter((input) => !input.name.includes("split")).flatMap((input) => input.problems.map((p) => p.code)),
    );
    await until("every mistake is named", () => {
      for (const { code } of live.mesh.problems()) codes.delete(code);
      return codes.size === 0;
    }).catch((error: Error) => expect.fail(`${error.message}: ${[...codes].join(", ")}`));
    for (const { code, file, line, message } of live.mesh.problems().filter((p) => p.file?.includes("/bad/"))) {
      expect(line ?? (FILE_WIDE.has(code) ? 1 : 0), `${file}: ${message}`).toBeGreaterThan(0);
    }
    // Policies that come meanwhile take effect.
    live.write(
      "access.yaml",
      text(ACCESS).replaceAll("name: bookbuyer, namespace: bookbuyer", "name: bookthief, namespace: bookthief"),
    );
    await until("the buyer is refused", async () => (await buyer.http(BUY)).status === 403);
    const { statuses } = await load.stop();
    live.write("access.yaml", ACCESS);
    live.remove("bad");
    await until("nothing is wrong any more", () => live.mesh.problems().length === 0);
    await buys();
    expect(Object.keys(statuses).filter((status) => status !== "200" && status !== "403")).toEqual([]);
  });

  test("certificates are renewed over SDS without a dropped connection", async () => {
    const { metadata } = live.pod("bookwarehouse").manifest;
    const serials = async (pod: string) => {
      const { manifest } = live.pod(pod);
      const reply = await live.mesh.runtime.admin(
        podName(manifest.metadata.namespace, manifest.metadata.name),
        "/certs",
      );
      const { certificates } = JSON.parse(reply.body) as {
        certificates: { cert_chain: { serial_number: string }[] }[];
      };
      return new Set(certificates.flatMap((c) => c.cert_chain.map((one) => one.serial_number)));
    };
    expect(metadata.namespace).toBe("bookwarehouse");
    const warehouse = await live.client("bookwarehouse");
    expect((await warehouse.tcp("mysql.bookwarehouse", 3306, "PING\n", "db")).received).not.toBe("");
    const first = await buyer.http(BUY, { connection: "long" });
    const before = new Map(
      await Promise.all(
        ["bookwarehouse", "mysql", "bookstore-v2"].map(async (pod) => [pod, await serials(pod)] as const),
      ),
    );
    live.mesh.renew();
    for (const [pod, old] of before) {
      await until(`${pod} has another certificate`, async () =>
        [...(await serials(pod))].some((serial) => !old.has(serial)),
      );
    }
    expect((await warehouse.send("db", "PING\n")).received).not.toBe("");
    const second = await buyer.http(BUY, { connection: "long" });
    expect([second.status, second.socket]).toEqual([200, first.socket]);
    expect((await warehouse.tcp("mysql.bookwarehouse", 3306, "PING\n")).received).not.toBe("");
  });

  test("a control plane that is asked to end drains its streams, and traffic goes on", async () => {
    const load = await buyer.load(BUY, { workers: 2, pause: 5 });
    const pid = live.mesh.controllerPid as number;
    process.kill(pid, "SIGTERM");
    await until(
      "another control plane runs",
      () => live.mesh.controllerPid !== undefined && live.mesh.controllerPid !== pid,
    );
    await settled();
    expect((await load.stop()).errors).toEqual([]);
  });

  test("a resource that Envoy rejects is shown, is not sent in a loop, and the last good one stays", async () => {
    const name = "rds-inbound.14001";
    const nacks = () => metric("heddle_xds_nacks_total", '{type="RDS"}');
    const before = await nacks();
    live.mesh.tamper("RDS", name);
    const row = await until("the rejection is shown", async () => {
      const now = await proxy("bookstore-v2");
      return now?.types.RDS?.nacked === undefined ? undefined : now;
    });
    expect(row.types.RDS?.rejected).toEqual([name]);
    expect(row.types.RDS?.message).toBeTruthy();
    expect(row.types.RDS?.acked).not.toBe(row.types.RDS?.nacked);
    await until("all three servers have said so", async () => (await nacks()) === before + 3);
    const sent = await metric("heddle_xds_resources_sent_total", '{type="RDS"}');
    // Other policies still reach the same proxies meanwhile, and the last good routes are in force.
    const { statuses } = await buyer.count(BUY, 200);
    expect(statuses).toEqual({ 200: 200 });
    expect(await nacks()).toBe(before + 3);
    expect(await metric("heddle_xds_resources_sent_total", '{type="RDS"}')).toBe(sent);
    const log = readFileSync(join(live.mesh.runDir, "controller.log"), "utf8");
    expect(log).toMatch(/reject/i);
    live.mesh.tamper();
    await until("nothing is rejected any more", async () =>
      (await proxies()).every((p) => Object.values(p.types).every((t) => t?.nacked === undefined)),
    );
    await buys();
  });
});
