import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BackOff } from "../../../src/local/back-off.ts";
import { LocalError } from "../../../src/local/errors.ts";
import { Lines, LogFile } from "../../../src/local/log-file.ts";
import { isAlive, isRunId, startTime } from "../../../src/local/record.ts";
import { deploymentOf, Rollout, ROLLOUT_MS } from "../../../src/local/rollout.ts";
import { podRules, serviceRules } from "../../../src/local/service-rules.ts";
import { Addresses, candidates, subnetsOf } from "../../../src/local/subnet.ts";
import { installCommand, missingPackages } from "../../../src/local/tools.ts";
import { podName } from "../../../src/world/names.ts";
import type { PodManifest } from "../../../src/world/pod.ts";
import { FakeClock } from "../../support/clock.ts";

test("back-off doubles up to 30 s and is forgotten after a long run", () => {
  const backOff = new BackOff();
  const delays = Array.from({ length: 10 }, () => backOff.next(0));
  expect(delays).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
  expect(backOff.next(60_000)).toBe(200);
});

test("subnets: routes of the host are passed over, a wider one only if nothing else is left", () => {
  expect(candidates(["192.0.2.0/24", "0.0.0.0/0"])[0]).toBe(64);
  expect(candidates(["10.64.3.0/24", "10.67.0.1"])[0]).toBe(68);
  expect(candidates(["10.0.0.0/8", "10.64.0.0/16"]).slice(0, 2)).toEqual([66, 68]);
  expect(candidates(["10.64.0.0/10"])).toHaveLength(32);
  expect(candidates(Array.from({ length: 64 }, (_, i) => `10.${64 + i}.0.0/16`))).toEqual([]);
});

test("pods' addresses lie in the pods' subnet, differ, and are not soon used again", () => {
  const addresses = new Addresses(64);
  const first = addresses.take();
  expect(first).toBe("10.64.1.1");
  addresses.free(first);
  const more = Array.from({ length: 300 }, () => addresses.take());
  expect(new Set(more).size).toBe(300);
  expect(more).not.toContain(first);
  expect(more.every((ip) => /^10\.64\.[12]\.([1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4])$/.test(ip))).toBe(true);
});

test("Services' rules share calls evenly and let a pod call itself", () => {
  const endpoint = (n: number) => ({ ip: `10.64.1.${n}`, port: 8080 });
  const rules = serviceRules([
    { ip: "10.65.0.1", port: 80, protocol: "TCP", endpoints: [endpoint(1), endpoint(2), endpoint(3)] },
    { ip: "10.65.0.2", port: 53, protocol: "UDP", endpoints: [] },
  ]);
  expect(rules.match(/--probability \S+/g)).toEqual(["--probability 0.3333333333", "--probability 0.5000000000"]);
  expect(rules.match(/-j DNAT/g)).toHaveLength(3);
  expect(rules.match(/-j MASQUERADE/g)).toHaveLength(3);
  expect(rules).not.toContain("10.65.0.2");
});

test("a pod without a sidecar has no way to an admin port", () => {
  expect(podRules(subnetsOf(64), undefined)).not.toContain("DNAT");
  expect(podRules(subnetsOf(64), 15000)).toContain("-s 10.64.0.3/32 -p tcp --dport 15000 -j DNAT");
});

test("old pods of a Deployment wait for its new ones, 30 s at most", async () => {
  const clock = new FakeClock();
  const gone: string[] = [];
  const rollout = new Rollout((name) => gone.push(name), clock);
  const [a, b, lone] = [podName("ns", "a"), podName("ns", "b"), podName("ns", "lone")];
  rollout.retire(a, "ns/app");
  rollout.retire(b, "ns/other");
  rollout.retire(lone, undefined);
  rollout.check([
    { deployment: "ns/app", ready: false },
    { deployment: "ns/other", ready: false },
  ]);
  expect(gone).toEqual(["ns/lone"]);
  rollout.check([
    { deployment: "ns/app", ready: true },
    { deployment: "ns/other", ready: false },
  ]);
  expect(gone).toEqual(["ns/lone", "ns/a"]);
  await clock.pass(ROLLOUT_MS - 1);
  expect(gone).toHaveLength(2);
  await clock.pass(1);
  expect(gone).toEqual(["ns/lone", "ns/a", "ns/b"]);
});

test("a pod that is wanted again stays", async () => {
  const clock = new FakeClock();
  const gone: string[] = [];
  const rollout = new Rollout((name) => gone.push(name), clock);
  rollout.retire(podName("ns", "a"), "ns/app");
  rollout.keep(podName("ns", "a"));
  rollout.check([]);
  await clock.pass(ROLLOUT_MS * 2);
  expect(gone).toEqual([]);
});

test("a pod's Deployment is its ReplicaSet without the template's hash", () => {
  const pod = (kind: string, name: string): PodManifest => ({
    metadata: { name: "p", namespace: "ns", uid: "u", labels: {}, annotations: {}, ownerReferences: [{ kind, name }] },
    spec: { serviceAccountName: "default", containers: [] },
  });
  expect(deploymentOf(pod("ReplicaSet", "book-store-6c9f"))).toBe("ns/book-store");
  expect(deploymentOf(pod("StatefulSet", "mysql"))).toBeUndefined();
});

test("a full log makes room, and lines are cut whatever the chunks", () => {
  const directory = mkdtempSync(join(tmpdir(), "heddle-log-"));
  try {
    const path = join(directory, "logs", "app.log");
    const log = new LogFile(path, 10);
    for (const text of ["12345678\n", "abc\n", "def\n"]) log.write(text);
    log.close();
    expect(readFileSync(`${path}.1`, "utf8")).toBe("12345678\n");
    expect(readFileSync(path, "utf8")).toBe("abc\ndef\n");
  } finally {
    rmSync(directory, { recursive: true });
  }
  const seen: string[] = [];
  const lines = new Lines((line) => seen.push(line));
  for (const chunk of ["a", "b\r\nc\n\n", "x".repeat(Lines.MAX + 1), "end"]) lines.push(Buffer.from(chunk));
  lines.end();
  expect(seen.map((line) => line.slice(0, 3))).toEqual(["ab", "c", "", "xxx", "end"]);
});

test("a process is told from a later one of the same number", () => {
  const own = startTime(process.pid);
  expect(isAlive({ pid: process.pid, startTime: own! })).toBe(true);
  expect(isAlive({ pid: process.pid, startTime: `${own}0` })).toBe(false);
  expect(isAlive({ pid: 2 ** 22 + 1, startTime: "1" })).toBe(false);
});

test("a run's id fits into names of links and namespaces", () => {
  expect(["a", "x9k2", "12345678"].every(isRunId)).toBe(true);
  expect(["", "A", "a-b", "../x", "123456789"].some(isRunId)).toBe(false);
});

test("a machine that cannot have local pods says why", () => {
  const machine = { platform: "linux", uid: 0, locate: (tool: string) => `/usr/sbin/${tool}` };
  expect(missingPackages(machine)).toEqual([]);
  expect(missingPackages({ ...machine, locate: (tool) => (tool.startsWith("ip") ? undefined : tool) })).toEqual([
    "iproute2",
    "iptables",
  ]);
  expect(() => missingPackages({ ...machine, platform: "darwin" })).toThrow(/need Linux.*this is darwin/);
  expect(() => missingPackages({ ...machine, uid: 1000 })).toThrow(LocalError);
  expect(() => missingPackages({ ...machine, uid: 1000 })).toThrow(/need root.*sudo/);
});

test("the command to run is in the words of the machine's package manager", () => {
  const on = (manager: string) => installCommand(["iproute2", "iptables"], (tool) => tool === manager);
  expect(on("apt-get")).toBe("apt-get install -y --no-install-recommends iproute2 iptables");
  expect(on("dnf")).toBe("dnf install -y iproute iptables");
  expect(on("none")).toMatch(/^install the packages iproute2 iptables/);
});
