/**
 * `heddle why` as users start it, on a folder of 1,000 Services: one call from cold, and many at once.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { p50, print, rounded, type Row } from "./table.ts";

const SERVICES = 1_000;
const NAMESPACES = 20;
const CALLS = 5_000;
const BIN = resolve(import.meta.dirname, "../bin/heddle");

const place = (i: number): string => `namespace: ns-${i % NAMESPACES}`;
const app = (i: number): string => `
apiVersion: v1
kind: Service
metadata: {name: app-${i}, ${place(i)}}
spec: {selector: {app: app-${i}}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app-${i}, ${place(i)}}
spec:
  selector: {matchLabels: {app: app-${i}}}
  template:
    metadata: {labels: {app: app-${i}}}
    spec:
      serviceAccountName: app-${i}
      containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: app-${i}, ${place(i)}}
spec:
  matches:
    - {name: read, pathRegex: "/app-${i}/items/[^/]+", methods: [GET]}
    - {name: write, pathRegex: "/v[12]/items", methods: [POST, PUT], headers: {x-tenant: "[a-z]+"}}
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: app-${i}, ${place(i)}}
spec:
  destination: {kind: ServiceAccount, name: app-${i}, ${place(i)}}
  rules: [{kind: HTTPRouteGroup, name: app-${i}}]
  sources: [${[1, 7, 31]
    .map((d) => (i + d) % SERVICES)
    .map((c) => `{kind: ServiceAccount, name: app-${c}, ${place(c)}}`)
    .join(", ")}]
`;

/** Milliseconds of a whole process. */
function timed(args: readonly string[], codes: readonly number[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(BIN, ["why", ...args], { encoding: "utf8", maxBuffer: 1 << 30 });
  if (!codes.includes(status ?? -1)) throw new Error(`heddle why ended with ${status}: ${stderr}`);
  return performance.now() - start;
}

export function why(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-why-"));
  try {
    for (let i = 0; i < SERVICES; i++) writeFileSync(join(dir, `app-${i}.yaml`), app(i));
    const call = (client: number, server: number, write = false): string =>
      `ns-${client % NAMESPACES}/app-${client} ns-${server % NAMESPACES}/app-${server}:80 ${write ? "POST /v1/items" : `GET /app-${server}/items/7`}`;
    const one = call(8, 1).split(" ");
    const calls = join(dir, "calls.txt");
    const lines = Array.from({ length: CALLS }, (_, i) =>
      call((i + (i % 2 === 0 ? 7 : 8)) % SERVICES, i % SERVICES, i % 3 === 0),
    );
    writeFileSync(calls, `${lines.join("\n")}\n`);
    timed([...one, "-f", dir], [0]);
    const single = p50(Array.from({ length: 7 }, () => timed([...one, "-f", dir], [0])));
    const text = p50(Array.from({ length: 3 }, () => timed(["--calls", calls, "-f", dir], [1])));
    const json = p50(Array.from({ length: 3 }, () => timed(["--calls", calls, "-f", dir, "-o", "json"], [1])));
    const rows: Row[] = [
      { what: "one call, the whole process", "p50 ms": rounded(single) },
      { what: "a call in --calls, text", "p50 ms": rounded((text - single) / CALLS) },
      { what: "a call in --calls, JSON", "p50 ms": rounded((json - single) / CALLS) },
    ];
    print(`heddle why on a folder of ${SERVICES} Services (goal: 1,000 ms from cold, 1 ms a call)`, rows);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return Promise.resolve();
}
