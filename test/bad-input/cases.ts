/**
 * Broken folders, each with the sentences that it must produce and what must stand all the same: one table, read by the tests of
 * the source (`stage: "source"`) and of the whole pipeline (both stages).
 */
import { COMPILE } from "./compile-cases.ts";
import type { BadInput } from "./input.ts";
import { OBJECTS } from "./object-cases.ts";
import { READING } from "./reading-cases.ts";

export type { BadInput, ExpectedProblem } from "./input.ts";
export { GOOD, GOOD_STANDS } from "./input.ts";

export const BAD_INPUT: readonly BadInput[] = [...READING, ...OBJECTS, ...COMPILE];
