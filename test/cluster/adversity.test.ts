/**
 * What goes wrong around a mesh in a cluster, and who tries to do what he may not: on one installation, with the chart's defaults and
 * its own rights. `npx vitest run --config vitest.cluster.config.ts adversity -t outages` runs one part of it.
 */
import { afterAll, beforeAll } from "vitest";
import { badInput } from "./bad-input.ts";
import { Market } from "./market.ts";
import { outages } from "./outages.ts";
import { probes } from "./probes.ts";
import { rights } from "./rights.ts";
import { statuses } from "./statuses.ts";
import { tokens } from "./tokens.ts";
import { webhooks } from "./webhooks.ts";

let market: Market;
const open = (): Market => market;
beforeAll(async () => {
  market = await Market.open();
}, 1_800_000);
afterAll(() => market?.close());

for (const part of [probes, statuses, rights, tokens, webhooks, badInput, outages]) part(open);
