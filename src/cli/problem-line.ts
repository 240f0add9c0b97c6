/**
 * A Problem as one line, in the form that editors and compilers use for places. Pure.
 */
import type { ObjectRef, Problem } from "../world/types.ts";
import { printable } from "./text.ts";

const nameOf = ({ kind, namespace, name }: ObjectRef): string => `${kind} ${namespace ? `${namespace}/` : ""}${name}`;

/** `split.yaml:12: error: TrafficSplit bookstore/split: spec.backends[0]: …` */
export function problemLine({ severity, object, path, message, file, line }: Problem): string {
  const where = file === undefined ? "" : line === undefined ? `${file}: ` : `${file}:${line}: `;
  const what = object.kind === "" && object.name === "" ? "" : `${nameOf(object)}: `;
  return printable(`${where}${severity}: ${what}${path === "" ? "" : `${path}: `}${message}`);
}
