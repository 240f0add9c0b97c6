/**
 * What `scripts/gen.ts` changes in Envoy's shipped .proto files and in the TypeScript made from them, each with its reason.
 * Whole files that are not shipped lie in `proto/overlay/`.
 */

/** One textual change. `find` must occur exactly once in `file`, or generation fails: a patch that no longer fits is never skipped. */
export interface Patch {
  /** Path below the folder of .proto files, or below the output folder. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly why: string;
}

/** Changes of .proto files, made on a temporary copy. A field of a newer Envoy goes here: anchor, field, number, use. */
export const protoPatches: readonly Patch[] = [
  {
    file: "validate/validate.proto",
    find: "  optional bool strict = 25 [default = true];\n",
    replace: "  optional bool strict = 25 [default = true];\n  optional bool ignore_empty = 26;\n",
    why: "Envoy's files use this option of a newer protoc-gen-validate than the shipped one; without it they do not compile.",
  },
];

/** Changes of the generated TypeScript. */
export const outputPatches: readonly Patch[] = [
  {
    file: "google/protobuf/duration.ts",
    find: `    return {
      seconds: isSet(object.seconds) ? globalThis.Number(object.seconds) : 0,
      nanos: isSet(object.nanos) ? globalThis.Number(object.nanos) : 0,
    };
`,
    replace: `    const parts = isSet(object) ? /^(-?)(\\d+)(?:\\.(\\d{1,9}))?s$/.exec(globalThis.String(object)) : null;
    if (parts === null) {
      throw new globalThis.Error(\`Not a duration: \${object}\`);
    }
    const sign = parts[1] === "-" ? -1 : 1;
    const nanos = globalThis.Number((parts[3] ?? "").padEnd(9, "0"));
    return { seconds: sign * globalThis.Number(parts[2]) || 0, nanos: sign * nanos || 0 };
`,
    why: 'A duration in protobuf JSON is "1.5s"; ts-proto reads and writes an object, which Envoy does not accept.',
  },
  {
    file: "google/protobuf/duration.ts",
    find: `    const obj: any = {};
    if (message.seconds !== undefined && message.seconds !== 0) {
      obj.seconds = Math.round(message.seconds);
    }
    if (message.nanos !== undefined && message.nanos !== 0) {
      obj.nanos = Math.round(message.nanos);
    }
    return obj;
`,
    replace: `    const seconds = message.seconds ?? 0;
    const nanos = message.nanos ?? 0;
    const sign = seconds < 0 || nanos < 0 ? "-" : "";
    const digits = globalThis.String(Math.abs(nanos)).padStart(9, "0").replace(/(000){1,2}$/, "");
    return \`\${sign}\${Math.abs(seconds)}\${nanos === 0 ? "" : "." + digits}s\`;
`,
    why: "As above, the other way.",
  },
];
