/** What people read: tables, ages, and names that are nearly right. */
import { expect, test } from "vitest";
import { UserError } from "../../../src/cli/errors.ts";
import { findPod } from "../../../src/cli/pod-name.ts";
import { podTable } from "../../../src/cli/get-pods.ts";
import { proxyTable } from "../../../src/cli/proxy-status.ts";
import { age, bytes, cut, nearest, printable, table } from "../../../src/cli/text.ts";
import { lastLines } from "../../../src/cli/logs.ts";

test("a table is padded, and control characters in cells do nothing to a terminal", () => {
  expect(
    table(
      ["NAME", "X"],
      [
        ["a", "\u001B[31mred"],
        ["long-name", ""],
      ],
    ),
  ).toEqual(["NAME        X", "a            [31mred", "long-name"]);
  expect(printable("a\nb\u202Ec")).toBe("a b c");
});

test.each([
  [0, "0s"],
  [119_000, "119s"],
  [120_000, "2m"],
  [192_000, "3m12s"],
  [3_600_000, "60m"],
  [4 * 3_600_000 + 60_000, "4h1m"],
  [40 * 3_600_000, "40h"],
  [76 * 3_600_000, "3d4h"],
  [9 * 86_400_000, "9d"],
])("an age of %d ms is %s", (ms, text) => {
  expect(age(ms)).toBe(text);
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [4200, "4.2 kB"],
  [12_000_000, "12 MB"],
])("%d bytes are %s", (n, text) => {
  expect(bytes(n)).toBe(text);
});

test("long text is cut with an ellipsis", () => {
  expect(cut("abcdef", 4)).toBe("abc…");
  expect(cut("abc", 3)).toBe("abc");
  expect(cut("abc", 0)).toBe("");
});

test("the nearest name is at most a third wrong", () => {
  expect(nearest("bookbyuer", ["bookbuyer", "bookthief"])).toBe("bookbuyer");
  expect(nearest("mysql", ["bookbuyer", "bookthief"])).toBeUndefined();
});

test("the last lines of a log", () => {
  expect(lastLines("a\nb\nc\n", 2)).toBe("b\nc\n");
  expect(lastLines("a\n", 0)).toBe("");
  expect(lastLines("", 5)).toBe("");
});

const pods = [
  { namespace: "bookbuyer", name: "bookbuyer-6c9f-x2" },
  { namespace: "bookstore", name: "bookstore-6c9f-a1" },
  { namespace: "bookstore", name: "bookstore-v2-77-b2" },
  { namespace: "other", name: "mysql-0" },
  { namespace: "third", name: "mysql-0" },
];

test.each([
  ["bookbuyer", undefined, 0],
  ["bookbuyer/bookbuyer-6c9f-x2", undefined, 0],
  ["pod/bookbuyer", undefined, 0],
  ["bookstore-6", undefined, 1],
  ["bookstore/bookstore-v2", undefined, 2],
  ["mysql-0", "third", 4],
  ["other/mysql", undefined, 3],
])("%s (namespace %s) is one pod", (wanted, namespace, index) => {
  expect(findPod(pods, wanted, namespace)).toBe(pods[index]);
});

test.each([
  [
    "bookstore",
    /may be any of these pods: bookstore\/bookstore-6c9f-a1, bookstore\/bookstore-v2-77-b2\. Write the whole name/,
  ],
  ["mysql-0", /may be any of these pods: other\/mysql-0, third\/mysql-0/],
  ["bookbyer", /no pod "bookbyer"\. Did you mean bookbuyer\/bookbuyer-6c9f-x2\?/],
  ["zzz", /no pod "zzz"\. There are: bookbuyer\/bookbuyer-6c9f-x2, /],
  ["nowhere/x", /namespace nowhere has no pods/],
])("%s is refused with a sentence", (wanted, says) => {
  const find = (): unknown => findPod(pods, wanted);
  expect(find).toThrow(UserError);
  expect(find).toThrow(says);
});

test("a whole name wins over pods whose names begin with it", () => {
  const two = [
    { namespace: "a", name: "web" },
    { namespace: "a", name: "web-1" },
  ];
  expect(findPod(two, "web")).toBe(two[0]);
});

const row = {
  namespace: "b",
  name: "buyer",
  serviceAccount: "buyer",
  phase: "Running",
  ready: true,
  readyContainers: "2/2",
  terminating: false,
  restarts: 2,
  containers: ["app"],
} as const;

test("pods are listed as kubectl does, in order", () => {
  const now = Date.parse("2026-01-01T00:03:12Z");
  const rows = [
    { ...row, ip: "10.0.0.1", startedAt: "2026-01-01T00:00:00Z" },
    {
      ...row,
      namespace: "a",
      name: "late",
      phase: "Pending",
      ready: false,
      readyContainers: "0/2",
      reason: "no image",
    } as const,
  ];
  expect(podTable(rows, now, false)).toEqual([
    "NAMESPACE   NAME    READY   STATUS    RESTARTS   AGE     IP",
    "a           late    0/2     Pending   2          -       -",
    "b           buyer   2/2     Running   2          3m12s   10.0.0.1",
  ]);
  expect(podTable(rows, now, true)[1]).toMatch(/buyer +app +no image$/);
});

test("proxies are listed by type, with what they reject and why", () => {
  const proxy = {
    id: "u-1",
    pod: "b/buyer",
    identity: "b/buyer",
    group: "g",
    protocol: "delta",
    connectedSince: "",
    address: "",
  } as const;
  const types = {
    RDS: { sent: "aaaaaaaabb", acked: "ccccccccdd", nacked: "eeeeeeeeff", message: "bad\nroute", resources: 1 },
    CDS: { sent: "1111111122", acked: "1111111122", resources: 3, pendingMs: 1540 },
  };
  expect(proxyTable([{ ...proxy, types }])).toEqual([
    "PROXY     TYPE   SENT       ACKED      NACKED     MESSAGE",
    "b/buyer   CDS    11111111   11111111   -          not answered for 1.5 s",
    "b/buyer   RDS    aaaaaaaa   cccccccc   eeeeeeee   bad route",
  ]);
});
