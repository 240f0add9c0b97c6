import { describe, expect, test } from "vitest";
import { Gate } from "../../../src/ca/gate.ts";

/** A gate with jobs that end when told to, counted by the test itself. */
function setup(width: number) {
  const gate = new Gate(width);
  const running = new Map<string, (failure?: Error) => void>();
  const begun: string[] = [];
  const run = (name: string, signal?: AbortSignal) =>
    gate.run(async () => {
      begun.push(name);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      running.set(name, (failure) => (failure ? reject(failure) : resolve()));
      await promise.finally(() => running.delete(name));
      return name;
    }, signal);
  return { gate, running, begun, run };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("a gate", () => {
  test("never runs more than its width, also for those who come while places change hands", async () => {
    const { gate, running, begun, run } = setup(2);
    const all = ["a", "b", "c", "d"].map((name) => run(name));
    expect(begun).toEqual(["a", "b"]);
    for (const name of ["a", "b", "c", "d", "late a", "late b", "late c"]) {
      running.get(name)!();
      all.push(run(`late ${name}`));
      await turn();
      expect(running.size).toBe(2);
    }
    expect(begun).toEqual(["a", "b", "c", "d", "late a", "late b", "late c", "late d", "late late a"]);
    while (running.size > 0) {
      for (const end of running.values()) end();
      await turn();
    }
    expect((await Promise.all(all)).length).toBe(11);
    expect(gate.waiting).toBe(0);
    expect(gate.peak).toBe(2);
  });

  test("passes a failed job's place on", async () => {
    const { running, begun, run } = setup(1);
    const failing = run("a");
    const next = run("b");
    running.get("a")!(new Error("no"));
    await expect(failing).rejects.toThrow("no");
    await turn();
    expect(begun).toEqual(["a", "b"]);
    running.get("b")!();
    expect(await next).toBe("b");
  });

  test("lets one leave from the middle of the line, and does not begin for one that has gone", async () => {
    const { gate, running, begun, run } = setup(1);
    const gone = new AbortController();
    const first = run("a");
    const leaving = run("b", gone.signal);
    const last = run("c");
    gone.abort(new Error("gone"));
    await expect(leaving).rejects.toThrow("gone");
    await expect(run("d", gone.signal)).rejects.toThrow("gone");
    expect(gate.waiting).toBe(1);
    running.get("a")!();
    await first;
    await turn();
    running.get("c")!();
    await last;
    expect(begun).toEqual(["a", "c"]);
  });
});
