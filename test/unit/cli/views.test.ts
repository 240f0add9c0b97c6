/** The live table and the plain lines, from the same view. */
import { expect, test } from "vitest";
import { liveLines } from "../../../src/cli/live-view.ts";
import { PlainView } from "../../../src/cli/plain-view.ts";
import { Screen } from "../../../src/cli/screen.ts";
import type { View } from "../../../src/cli/view.ts";

const AT = new Date(2026, 0, 1, 12, 3, 4).getTime();
const pod = {
  namespace: "b",
  name: "buyer",
  serviceAccount: "buyer",
  phase: "Running",
  ready: true,
  readyContainers: "2/2",
  terminating: false,
  restarts: 0,
  containers: ["app"],
} as const;
const view: View = {
  dir: "examples/bookstore",
  id: "ab12",
  now: AT,
  url: "http://127.0.0.1:9091/debug/",
  pods: [pod, { ...pod, name: "db", ready: false, reason: "mysql: readiness probe: connect ECONNREFUSED" }],
  flows: [
    {
      from: "bookbuyer/bookbuyer",
      to: "bookstore/bookstore",
      port: 14001,
      backend: "bookstore/bookstore-v1",
      kind: "http",
      perSecond: 12.14,
      outcomes: [{ outcome: "200", count: 121 }],
      p50: 2,
      p99: 5,
      bytes: 9,
    },
    {
      from: "bookthief/bookthief",
      to: "bookstore/bookstore",
      port: 14001,
      kind: "http",
      perSecond: 1,
      outcomes: [{ outcome: "403", count: 10 }],
      p50: 0,
      p99: 1,
      bytes: 9,
      reason: "no TrafficTarget lets bookthief/bookthief call bookstore.bookstore:14001",
    },
  ],
  dropped: 0,
  problems: ["split.yaml:12: error: TrafficSplit b/s: bad"],
  changes: [{ at: AT, text: "bookstore/bookstore split: bookstore-v1 50% → 100%" }],
  notices: [],
};

test("the live table", () => {
  expect(liveLines(view, { columns: 110, rows: 40, color: false }).map((l) => l.trimEnd())).toEqual([
    "heddle up examples/bookstore   mesh ab12   1/2 pods ready   12:03:04",
    "Ctrl-C ends it   http://127.0.0.1:9091/debug/",
    "",
    "FROM                 TO                         BACKEND       REQ/S  CODES     P50   P99",
    "bookbuyer/bookbuyer  bookstore/bookstore:14001  bookstore-v1   12.1  200×121  2 ms  5 ms",
    "bookthief/bookthief  bookstore/bookstore:14001                  1.0  403×10   0 ms  1 ms",
    "  └ no TrafficTarget lets bookthief/bookthief call bookstore.bookstore:14001",
    "",
    "Problems",
    "  split.yaml:12: error: TrafficSplit b/s: bad",
    "",
    "Pods that are not ready",
    "  b/db  mysql: readiness probe: connect ECONNREFUSED",
    "",
    "Last changes",
    "  12:03:04 bookstore/bookstore split: bookstore-v1 50% → 100%",
  ]);
});

test.each([
  [20, 10],
  [40, 12],
  [60, 24],
  [80, 24],
  [200, 50],
])("fits %d columns and %d rows", (columns, rows) => {
  const many = {
    ...view,
    flows: Array.from({ length: 100 }, (_, i) => ({ ...view.flows[1]!, from: `ns-${i}/${"long".repeat(9)}` })),
    problems: Array.from({ length: 50 }, (_, i) => `p${i}`),
  };
  const lines = liveLines(many, { columns, rows, color: false });
  expect(lines.length).toBeLessThanOrEqual(rows);
  expect(Math.max(...lines.map((l) => l.length))).toBeLessThanOrEqual(columns);
  expect(lines.some((l) => l.includes("more"))).toBe(true);
});

test("a path that holds escape sequences does nothing to the terminal", () => {
  const evil = { ...view, flows: [{ ...view.flows[1]!, reason: "GET /\u001B]0;x\u0007" }] };
  expect(liveLines(evil, { columns: 100, rows: 30, color: false }).join("")).not.toContain("\u001B");
  expect(new PlainView().lines(evil).join("")).not.toContain("\u001B");
});

test("plain lines say what is new, and nothing twice", () => {
  const plain = new PlainView();
  expect(plain.lines(view)).toEqual([
    "12:03:04 pod b/buyer is ready",
    "12:03:04 pod b/db is not ready: mysql: readiness probe: connect ECONNREFUSED",
    "12:03:04 problem: split.yaml:12: error: TrafficSplit b/s: bad",
    "12:03:04 bookstore/bookstore split: bookstore-v1 50% → 100%",
    "12:03:04 bookbuyer/bookbuyer → bookstore/bookstore:14001 (bookstore-v1)  12.1 requests/s  200×121  p50 2 ms, p99 5 ms",
    "12:03:04 bookthief/bookthief → bookstore/bookstore:14001  1.0 requests/s  403×10  p50 0 ms, p99 1 ms  – no TrafficTarget lets bookthief/bookthief call bookstore.bookstore:14001",
  ]);
  expect(plain.lines(view)).toEqual([]);
  const denied = { ...view.flows[0]!, outcomes: [{ outcome: "403", count: 1 }] };
  expect(plain.lines({ ...view, now: AT + 1000, flows: [denied] })).toEqual([]);
  const later = plain.lines({ ...view, now: AT + 6000, flows: [denied], problems: [], pods: [pod] });
  expect(later.map((l) => l.slice(9))).toEqual([
    "pod b/db is gone",
    "no longer a problem: split.yaml:12: error: TrafficSplit b/s: bad",
    "bookbuyer/bookbuyer → bookstore/bookstore:14001 (bookstore-v1)  12.1 requests/s  403×1  p50 2 ms, p99 5 ms",
  ]);
});

test("a screen is drawn over, written only when it differs, and given back", () => {
  const written: string[] = [];
  const screen = new Screen({ columns: 10, rows: 5, write: (text) => written.push(text) });
  screen.leave();
  expect(written).toEqual([]);
  screen.draw(["a"]);
  screen.draw(["a"]);
  expect(written).toHaveLength(1);
  expect(written[0]).toContain("\u001B[?1049h");
  screen.resized();
  screen.draw(["a"]);
  expect(written).toHaveLength(2);
  expect(written[1]).not.toContain("\u001B[2J");
  screen.leave();
  expect(written[2]).toContain("\u001B[?1049l");
  expect(written[2]).toContain("\u001B[?25h");
});
