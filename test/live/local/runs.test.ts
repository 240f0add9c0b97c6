import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { cleanUp } from "../../../src/local/clean-up.ts";
import { container, describeAsRoot, isRunning, pod, traces, Watched } from "./support.ts";

const SLEEPER = `console.log("pid " + process.pid);process.on("SIGTERM", () => {});setInterval(() => {}, 1000)`;

/** A run in a process of its own; the answers are its id and the pid of its pod's program. */
async function runElsewhere(ending: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, "owner.ts"), ending], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /^up (\S+) (\d+)$/.exec(line);
    if (match) return { child, id: match[1]!, pid: Number(match[2]), ended: once(child, "exit") };
  }
  throw new Error("the other run did not come up");
}

describeAsRoot("runs", () => {
  const meshes: Watched[] = [];
  const made = async (): Promise<Watched> => {
    const mesh = new Watched();
    meshes.push(mesh);
    return mesh.start();
  };
  afterEach(() => Promise.all(meshes.splice(0).map((mesh) => mesh.runtime.stop())));

  test("stop removes every trace, also of programs that ignore SIGTERM", async () => {
    const mesh = await made();
    mesh.runtime.apply([pod("a", container(SLEEPER)), pod("b", container(SLEEPER))]);
    await mesh.until("both up", () => mesh.lines.length === 2);
    const pids = mesh.lines.map((line) => Number(line.split(" ").at(-1)));
    expect(traces(mesh.runtime.id).length).toBeGreaterThan(6);
    mesh.abort.abort();
    await mesh.runtime.stop();
    expect(traces(mesh.runtime.id)).toEqual([]);
    expect(pids.filter(isRunning)).toEqual([]);
    await mesh.runtime.stop();
    cleanUp(mesh.runtime.id);
  });

  test("stop while pods are starting removes every trace", async () => {
    const mesh = await made();
    mesh.runtime.apply(Array.from({ length: 8 }, (_, i) => pod(`p${i}`, container(SLEEPER))));
    await mesh.runtime.stop();
    expect(traces(mesh.runtime.id)).toEqual([]);
  });

  test("two runs side by side have their own subnets and do not reach each other", async () => {
    const [one, two] = await Promise.all([made(), made()]);
    expect(one.runtime.id).not.toBe(two.runtime.id);
    expect(one.runtime.podSubnet).not.toBe(two.runtime.podSubnet);
    one.runtime.apply([
      pod(
        "server",
        container(`require("http").createServer((q, s) => s.end("x")).listen(8080)`, {
          readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 0.1 },
        }),
      ),
    ]);
    await one.ready("server");
    const url = `http://${one.status("server")!.ip}:8080`;
    two.runtime.apply([
      pod("client", container(`fetch("${url}").then(() => console.log("reached"), (e) => console.log(e.cause.code))`), {
        restartPolicy: "Never",
      }),
    ]);
    await two.line("client/app: ENETUNREACH");
    await two.runtime.stop();
    expect(traces(two.runtime.id)).toEqual([]);
    expect(one.status("server")!.ready).toBe(true);
    expect((await fetch(url)).status).toBe(200);
  });

  test("an id that is in use is refused in a sentence", async () => {
    const mesh = await made();
    const again = new Watched({ id: mesh.runtime.id });
    await expect(again.start()).rejects.toThrow(`A run called "${mesh.runtime.id}" is active (process ${process.pid})`);
    expect(traces(mesh.runtime.id)).not.toEqual([]);
    await expect(new Watched({ id: "../x" }).start()).rejects.toThrow("cannot name a run");
  });

  test("what a killed run left is removed by the next one, and nothing else", async () => {
    const beside = await made();
    const { child, id, pid, ended } = await runElsewhere("kill");
    child.kill("SIGKILL");
    await ended;
    expect(traces(id)).not.toEqual([]);
    expect(isRunning(pid)).toBe(true);
    const next = await made();
    expect(next.said).toContainEqual(expect.stringContaining(id));
    expect(traces(id)).toEqual([]);
    expect(isRunning(pid)).toBe(false);
    expect(traces(beside.runtime.id)).not.toEqual([]);
  });

  test.each(["throw", "exit"])("a run that ends by %s leaves nothing", async (ending) => {
    const { id, pid, ended } = await runElsewhere(ending);
    await ended;
    expect(traces(id)).toEqual([]);
    expect(isRunning(pid)).toBe(false);
  });

  test("the last run takes the state directory along", async () => {
    const mesh = await made();
    expect(existsSync(`/run/heddle/${mesh.runtime.id}/state.json`)).toBe(true);
    await mesh.runtime.stop();
    expect(existsSync(`/run/heddle/${mesh.runtime.id}`)).toBe(false);
  });
});
