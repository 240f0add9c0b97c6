/** Documents that know their lines. */
import { expect, test } from "vitest";
import { parseYaml, segmentsOf } from "../../../src/sources/files/yaml.ts";

const TEXT = `# a comment
%YAML 1.2
---
kind: A
spec:
  rules:
  - name: one
    "quoted.key": x
  - {name: two,
     flow: 1}
---
---   # empty

kind: B
text: |
  --- not a document
  end
...
---
kind: C
`;

test("documents and their first lines", () => {
  const { documents, errors } = parseYaml(TEXT);
  expect(errors).toEqual([]);
  expect(documents.map(({ value, line }) => [(value as { kind: string }).kind, line])).toEqual([
    ["A", 4],
    ["B", 14],
    ["C", 20],
  ]);
});

test.for([
  ["", 4],
  ["spec", 5],
  ["spec.rules", 6],
  ["spec.rules[0]", 7],
  ["spec.rules[0].name", 7],
  ['spec.rules[0]["quoted.key"]', 8],
  ["spec.rules[1]", 9],
  ["spec.rules[1].flow", 10],
  ["spec.rules[1].missing", 9],
  ["spec.rules[7].name", 6],
  ["nowhere", 4],
] as const)("the line of %s is %i", ([path, line]) => {
  expect(parseYaml(TEXT).documents[0]?.lineOf(path)).toBe(line);
});

test("lines hold with CRLF, in JSON, and through merge keys", () => {
  expect(parseYaml("a: 1\r\n---\r\nb:\r\n  c: 2\r\n").documents[1]?.lineOf("b.c")).toBe(4);
  expect(parseYaml('{\n  "a": {\n    "b": [1,\n2]}}').documents[0]?.lineOf("a.b[1]")).toBe(4);
  const merged = parseYaml("base: &b {x: 1}\nuse:\n  <<: *b\n  y: 2\n").documents[0];
  expect(merged?.value).toEqual({ base: { x: 1 }, use: { x: 1, y: 2 } });
  expect(merged?.lineOf("use.y")).toBe(4);
});

test("an error takes its own document only, and knows its line", () => {
  const { documents, errors } = parseYaml("a: 1\n---\nb: [\n---\nc: 3\n---\nd: *nowhere\n");
  expect(documents.map((document) => document.value)).toEqual([{ a: 1 }, { c: 3 }]);
  expect(errors.map((error) => error.line)).toEqual([4, 7]);
});

test("nothing but plain data comes out", () => {
  expect(parseYaml("a: 2020-01-01\nb: yes\nc: 0o17\nd: ~\n__proto__: {polluted: true}").documents[0]?.value).toEqual(
    Object.defineProperty({ a: "2020-01-01", b: "yes", c: 15, d: null }, "__proto__", {
      value: { polluted: true },
      enumerable: true,
    }),
  );
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  expect(parseYaml("a: !!js/regexp /x/").errors).toHaveLength(1);
});

test("paths fall into keys and indexes", () => {
  expect(segmentsOf('spec.rules[0].headers["a.b"]["c\\"d"]')).toEqual(["spec", "rules", 0, "headers", "a.b", 'c"d']);
});
