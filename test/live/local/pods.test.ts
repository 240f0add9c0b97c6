import { execFileSync, spawnSync } from "node:child_process";
import { get } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { execCommand, findContainer, findPods, readLog } from "../../../src/local/exec.ts";
import { readRecord } from "../../../src/local/record.ts";
import { container, describeAsRoot, isRunning, named, node, pod, SERVER, traces, Watched } from "./support.ts";

const CALL = (url: string): string =>
  `fetch(${JSON.stringify(url)}).then((r) => r.text()).then((t) => console.log("answer " + t), (e) => console.log("failed " + (e.cause?.code ?? e.message)))`;
const READY = { readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 0.1 } };

describeAsRoot("local pods", () => {
  const mesh = new Watched();
  beforeAll(async () => void (await mesh.start()));
  afterAll(() => mesh.runtime.stop());

  test("pods reach each other by address, Service and name", async () => {
    const server = pod("server", container(SERVER, READY));
    mesh.runtime.apply([server]);
    await mesh.ready("server");
    const { ip } = mesh.status("server")!;
    const vip = mesh.runtime.serviceSubnet.replace("0.0/16", "0.7");
    mesh.runtime.setServices([{ ip: vip, port: 80, protocol: "TCP", endpoints: [{ ip: ip!, port: 8080 }] }]);
    mesh.runtime.setNames([
      { kind: "clusterIP", namespace: "ns", name: "store", ip: vip },
      { kind: "headless", namespace: "ns", name: "stores", endpoints: [{ ip: ip!, hostname: "server" }] },
    ]);
    const urls = [
      `http://${ip}:8080`,
      "http://store",
      "http://store.ns",
      "http://store.ns.svc.cluster.local",
      "http://server.stores.ns:8080",
      "http://nobody",
      `http://${vip}:81`,
      "http://1.1.1.1",
    ];
    const clients = urls.map((url, i) => pod(`client-${i}`, container(CALL(url)), { restartPolicy: "Never" }));
    mesh.runtime.apply([server, ...clients]);
    await mesh.until("all clients done", () =>
      clients.every((c) => mesh.status(c.metadata.name)?.phase === "Succeeded"),
    );
    const answers = clients.map(
      (c) => mesh.lines.find((line) => line.startsWith(`${c.metadata.name}/app: `))?.split(": ")[1],
    );
    const from = (i: number): string => `answer server ${mesh.status(`client-${i}`)!.ip}`;
    expect(answers).toEqual([
      from(0),
      from(1),
      from(2),
      from(3),
      from(4),
      "failed ENOTFOUND",
      "failed ECONNREFUSED",
      "failed ENETUNREACH",
    ]);
    expect(mesh.status("client-0")).toMatchObject({ phase: "Succeeded", ready: false, reason: "Completed" });
  });

  test("a pod sent to itself through its Service gets its own answer", async () => {
    const vip = mesh.runtime.serviceSubnet.replace("0.0/16", "0.8");
    const again = `const call = () => fetch("http://${vip}").then((r) => r.text()).then((t) => console.log("answer " + t), () => setTimeout(call, 50));call()`;
    mesh.runtime.apply([pod("self", container(`${SERVER};${again}`, READY))]);
    await mesh.ready("self");
    const endpoints = [{ ip: mesh.status("self")!.ip!, port: 8080 }];
    mesh.runtime.setServices([{ ip: vip, port: 80, protocol: "TCP", endpoints }]);
    await mesh.until("an answer", () => mesh.lines.some((line) => line.startsWith("self/app: answer self")));
  });

  test("pods that come and go do not disturb connections of the others", async () => {
    const steady = pod(
      "steady",
      container(SERVER, {
        readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 0.05, timeoutSeconds: 0.5, failureThreshold: 1 },
      }),
    );
    mesh.runtime.apply([steady]);
    await mesh.ready("steady");
    const from = mesh.statuses.length;
    for (let round = 0; round < 5; round++) {
      const others = Array.from({ length: 3 }, (_, i) =>
        pod(`guest-${round}-${i}`, container(`setInterval(() => {}, 1000)`), { terminationGracePeriodSeconds: 0 }),
      );
      mesh.runtime.apply([steady, ...others]);
      await mesh.ready(...others.map((o) => o.metadata.name));
    }
    expect(mesh.statuses.slice(from).filter((s) => s.name === "steady")).toEqual([]);
  });

  test("init containers run one after the other, before the applications", async () => {
    const step = (name: string, code = 0) => ({
      ...container(`console.log("did ${name}");process.exit(${code})`),
      name,
    });
    mesh.runtime.apply([
      pod("inits", container(`console.log("app")`), {
        initContainers: [step("one"), step("two")],
        restartPolicy: "Never",
      }),
    ]);
    await mesh.until("done", () => mesh.status("inits")?.phase === "Succeeded");
    expect(mesh.lines.filter((line) => line.startsWith("inits/"))).toEqual([
      "inits/one: did one",
      "inits/two: did two",
      "inits/app: app",
    ]);

    mesh.runtime.apply([
      pod("failing", container(`console.log("app")`), {
        initContainers: [step("one", 3), step("two")],
        restartPolicy: "Never",
      }),
    ]);
    await mesh.until("failed", () => mesh.status("failing")?.phase === "Failed");
    expect(mesh.lines.filter((line) => line.startsWith("failing/"))).toEqual(["failing/one: did one"]);
    expect(mesh.status("failing")?.reason).toBe("one: exit code 3: did one");
  });

  test("a native sidecar starts before the applications and ends after them", async () => {
    const say = (name: string) =>
      `process.on("SIGTERM", () => { console.log("down ${name}"); process.exit() });setInterval(() => {}, 1000);console.log("up ${name}")`;
    const helper = {
      ...container(`${say("helper")};require("net").createServer().listen(9090)`),
      name: "helper",
      restartPolicy: "Always" as const,
      startupProbe: { tcpSocket: { port: 9090 }, periodSeconds: 0.1 },
    };
    mesh.runtime.apply([pod("helped", container(say("app")), { initContainers: [helper] })]);
    await mesh.line("helped/app: up app");
    mesh.runtime.remove(named("helped"));
    await mesh.gone("helped");
    expect(mesh.lines.filter((line) => line.startsWith("helped/"))).toEqual([
      "helped/helper: up helper",
      "helped/app: up app",
      "helped/app: down app",
      "helped/helper: down helper",
    ]);
  });

  test("a program that fails is started again, later each time", async () => {
    mesh.runtime.apply([
      pod("crashing", container(`console.log(Date.now());console.error("no luck");process.exit(1)`)),
    ]);
    const times = (): number[] =>
      mesh.lines.filter((l) => /^crashing\/app: \d+$/.test(l)).map((l) => Number(l.split(": ")[1]));
    await mesh.until("four runs", () => times().length >= 4);
    const [a, b, c, d] = times() as [number, number, number, number];
    expect(b - a).toBeGreaterThanOrEqual(200);
    expect(c - b).toBeGreaterThanOrEqual(400);
    expect(d - c).toBeGreaterThanOrEqual(800);
    await mesh.until("backing off", () => mesh.status("crashing")?.reason !== undefined);
    expect(mesh.status("crashing")).toMatchObject({
      phase: "Running",
      ready: false,
      reason: "app: exit code 1: no luck, will be restarted",
    });
    expect(mesh.status("crashing")!.restarts).toBeGreaterThanOrEqual(3);
  });

  test("a command that does not exist is told in one line", async () => {
    mesh.runtime.apply([pod("missing", { name: "app", image: "x", command: ["/no/such/program"] })]);
    await mesh.until("a reason", () => mesh.status("missing")?.reason?.includes("/no/such/program"));
    expect(mesh.status("missing")?.ready).toBe(false);
  });

  test("SIGTERM first; SIGKILL after the grace period, for the whole group of processes", async () => {
    const stubborn = `process.on("SIGTERM", () => console.log("asked"));const c = require("child_process").spawn("sleep", ["1000"]);console.log("child " + c.pid);setInterval(() => {}, 1000)`;
    mesh.runtime.apply([pod("stubborn", container(stubborn), { terminationGracePeriodSeconds: 1 })]);
    await mesh.until("its child", () => mesh.lines.some((line) => line.startsWith("stubborn/app: child")));
    const child = Number(
      mesh.lines
        .find((line) => line.startsWith("stubborn/app: child"))!
        .split(" ")
        .at(-1),
    );
    expect(isRunning(child)).toBe(true);
    const began = performance.now();
    mesh.runtime.remove(named("stubborn"));
    await mesh.gone("stubborn");
    expect(performance.now() - began).toBeGreaterThanOrEqual(1000);
    expect(mesh.statuses.some((s) => s.name === "stubborn" && s.status?.terminating && !s.status.ready)).toBe(true);
    expect(mesh.lines).toContain("stubborn/app: asked");
    expect(isRunning(child)).toBe(false);
  });

  test("a changed spec replaces a pod, equal ones stay, others go", async () => {
    const make = (say: string) =>
      pod("edited", container(`console.log("${say}");setInterval(() => {}, 1000)`), {
        terminationGracePeriodSeconds: 0,
      });
    const other = pod("other", container(`setInterval(() => {}, 1000)`), { terminationGracePeriodSeconds: 0 });
    mesh.runtime.apply([make("first"), other]);
    await mesh.line("edited/app: first");
    const { startedAt } = mesh.status("other")!;
    mesh.runtime.apply([make("second"), other]);
    await mesh.line("edited/app: second");
    expect(mesh.status("other")!.startedAt).toBe(startedAt);
    mesh.runtime.restart(named("other"));
    await mesh.until("restarted", () => (mesh.status("other")?.startedAt ?? 0) > startedAt!);
    mesh.runtime.apply([other]);
    await mesh.gone("edited");
    expect(mesh.runtime.status(named("edited"))).toBeUndefined();
  });

  test("new pods of a Deployment are ready before old ones go", async () => {
    const make = (name: string, rs: string) =>
      pod(
        name,
        container(SERVER, READY),
        { terminationGracePeriodSeconds: 1 },
        { ownerReferences: [{ kind: "ReplicaSet", name: rs }] },
      );
    mesh.runtime.apply([make("app-1-a", "app-1")]);
    await mesh.ready("app-1-a");
    mesh.runtime.apply([make("app-2-b", "app-2")]);
    await mesh.gone("app-1-a");
    const at = (name: string, test: (s: (typeof mesh.statuses)[0]["status"]) => boolean | undefined): number =>
      mesh.statuses.findIndex((s) => s.name === name && test(s.status));
    expect(at("app-2-b", (s) => s?.ready)).toBeGreaterThanOrEqual(0);
    expect(at("app-2-b", (s) => s?.ready)).toBeLessThan(at("app-1-a", (s) => s?.terminating));
  });

  test("other processes can run programs in a pod and read its logs", async () => {
    mesh.runtime.apply([
      pod(
        "inside",
        container(`console.log("hello");setInterval(() => {}, 1000)`, {
          securityContext: { runAsUser: 1234, runAsGroup: 77 },
        }),
      ),
    ]);
    await mesh.line("inside/app: hello");
    await expect
      .poll(() => readRecord(mesh.runtime.id)?.pods.find((p) => p.name === "inside")?.status.phase)
      .toBe("Running");
    const [found] = findPods(readRecord(mesh.runtime.id)!, "inside");
    const app = findContainer(found!)!;
    expect(readLog(app)).toBe("hello\n");
    const run = (...argv: string[]): string => {
      const { command, args, env, cwd } = execCommand(found!, app, argv);
      return spawnSync(command, args, { env, cwd, encoding: "utf8" }).stdout.trim();
    };
    expect(run("id", "-u")).toBe("1234");
    expect(run("id", "-g")).toBe("77");
    expect(run("hostname")).toBe("inside");
    expect(run("ip", "-o", "-4", "addr", "show", "eth0")).toContain(found!.status.ip);
    expect(run("ls", "/run/heddle")).toBe("");
  });

  test("an application as root can neither change the redirection nor make devices", async () => {
    mesh.runtime.apply([pod("root", container(`setInterval(() => {}, 1000)`))]);
    await mesh.ready("root");
    await expect.poll(() => readRecord(mesh.runtime.id)?.pods.find((p) => p.name === "root")).toBeDefined();
    const [found] = findPods(readRecord(mesh.runtime.id)!, "root");
    const attempt = (...argv: string[]): number | null => {
      const { command, args, env } = execCommand(found!, found!.containers[0]!, argv);
      return spawnSync(command, args, { env }).status;
    };
    expect(attempt("id")).toBe(0);
    expect(attempt("iptables", "-t", "nat", "-F")).not.toBe(0);
    expect(attempt("ip", "link", "set", "eth0", "down")).not.toBe(0);
    expect(attempt("mknod", "/tmp/heddle-test-device", "b", "1", "1")).not.toBe(0);
    expect(attempt("umount", "/run/heddle")).not.toBe(0);
  });

  test("removal of a pod leaves nothing of it", async () => {
    const before = traces(mesh.runtime.id).length;
    mesh.runtime.apply([]);
    await mesh.until("all gone", () =>
      [...new Set(mesh.statuses.map((s) => s.name))].every(
        (n) => mesh.statuses.findLast((s) => s.name === n)?.status === undefined,
      ),
    );
    expect(before).toBeGreaterThan(2);
    expect(traces(mesh.runtime.id).filter((t) => /-[0-9a-f]{8}$/.test(t))).toEqual([]);
    expect(
      execFileSync("ip", ["-n", `heddle-${mesh.runtime.id}`, "-br", "link", "show", "type", "veth"], {
        encoding: "utf8",
      })
        .trim()
        .split("\n"),
    ).toHaveLength(1);
  });
});

const get200 = (url: string, localAddress?: string): Promise<string> =>
  new Promise((resolve) => {
    get(url, { agent: false, ...(localAddress !== undefined && { localAddress }) }, (r) => {
      let body = "";
      r.on("data", (d: Buffer) => (body += d.toString())).on("end", () => resolve(`${r.statusCode} ${body}`));
    }).on("error", (e: NodeJS.ErrnoException) => resolve(e.code ?? e.message));
  });

describeAsRoot("sidecars", () => {
  // Stands in for Envoy: an admin port that is ready after a while, and a listener that everything inbound is led to.
  const proxy = `const http = require("http");const began = Date.now();http.createServer((q, s) => { s.statusCode = q.url === "/ready" && Date.now() - began < 400 ? 503 : 200; s.end("no open connections") }).listen(15000, "127.0.0.1");
http.createServer((q, s) => s.end("by the sidecar as " + process.getuid() + ", key " + require("fs").readFileSync("key", "utf8"))).listen(15003);console.log("proxy up");process.on("SIGTERM", () => { console.log("proxy down"); process.exit() })`;
  const iptables = "*nat\n:IN - [0:0]\n-A PREROUTING -p tcp -j IN\n-A IN -p tcp -j REDIRECT --to-port 15003\nCOMMIT\n";
  const mesh = new Watched({
    sidecar: (manifest, place) => {
      expect(place.directory).toContain(manifest.metadata.name);
      return { argv: node(proxy), files: { key: { content: "secret", mode: 0o600 } }, iptables };
    },
  });
  beforeAll(async () => void (await mesh.start()));
  afterAll(() => mesh.runtime.stop());

  test("a sidecar is up before the applications, down after them, and gets the traffic; probes go past it", async () => {
    const app = SERVER.replace("process.exit()", `{ console.log("app down"); process.exit() }`);
    mesh.runtime.apply([
      pod("meshed", container(app, READY), { initContainers: [{ ...container(`console.log("init")`), name: "init" }] }),
    ]);
    await mesh.ready("meshed");
    const { ip } = mesh.status("meshed")!;
    expect(await get200(`http://${ip}:8080`)).toBe("200 by the sidecar as 1500, key secret");
    expect(await get200(`http://${ip}:8080`, mesh.runtime.prober)).toBe(`200 meshed ${mesh.runtime.prober}`);
    expect((await mesh.runtime.admin(named("meshed"), "/ready")).status).toBe(200);
    // Without the prober's address the admin port is not reached: the redirection leads to the sidecar's listener.
    expect(await get200(`http://${ip}:15000`)).toContain("by the sidecar");

    await expect.poll(() => readRecord(mesh.runtime.id)?.pods[0]?.status.ready).toBe(true);
    const [found] = findPods(readRecord(mesh.runtime.id)!, "meshed");
    const { command, args, env } = execCommand(found!, found!.containers[0]!, [
      "cat",
      `/run/heddle/${mesh.runtime.id}/pods/ns_meshed/sidecar/key`,
    ]);
    expect(spawnSync(command, args, { env }).status).not.toBe(0);

    mesh.runtime.remove(named("meshed"));
    await mesh.gone("meshed");
    expect(mesh.lines.map((line) => line.replace("meshed/", ""))).toEqual([
      "envoy: proxy up",
      "init: init",
      "app: listening",
      "app: app down",
      "envoy: proxy down",
    ]);
  });

  test("a sidecar that dies comes back, and its pod is not ready meanwhile", async () => {
    mesh.runtime.apply([pod("revived", container(SERVER, READY))]);
    await mesh.ready("revived");
    const from = mesh.statuses.length;
    const netns = readNetns(mesh.runtime.id, "revived");
    const pid = execFileSync("ip", ["netns", "pids", netns], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map(Number)
      .find((p) => execFileSync("ps", ["-o", "uid=", "-p", String(p)], { encoding: "utf8" }).trim() === "1500")!;
    process.kill(pid, "SIGKILL");
    await mesh.until("not ready", () => mesh.statuses.slice(from).some((s) => s.status?.ready === false));
    await mesh.ready("revived");
    expect(mesh.status("revived")!.restarts).toBe(1);
  });
});

function readNetns(id: string, name: string): string {
  return readRecord(id)!.pods.find((p) => p.name === name)!.netns;
}
