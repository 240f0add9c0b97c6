#!/usr/bin/env node
/**
 * The `heddle` command: runs one command and ends with its exit code. The only place where errors become words.
 */
import { enableCompileCache } from "node:module";
import { readConfig } from "../config.ts";

const config = readConfig(process.env);
// Node's default place is below /tmp, where somebody else could have put code for root to run.
if (config.cacheDir !== undefined && process.env["NODE_COMPILE_CACHE"] === undefined)
  enableCompileCache(`${config.cacheDir}/node`);

const { run } = await import("./run.ts");
process.exitCode = await run(process.argv.slice(2), config);
