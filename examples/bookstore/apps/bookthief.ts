/** Takes books where the policy lets it; says whether the answer is what it was told to expect. */
import { bookstoreUrl, endOnSignals, requestInterval, runErrands } from "./caller.ts";

endOnSignals();
const expected = Number(process.env["BOOKTHIEF_EXPECTED_RESPONSE_CODE"] || 0);
const headers = { "user-agent": "bookthief-http-client/1.0", "client-app": "bookthief" };
await runErrands([{ method: "GET", url: `${bookstoreUrl()}/buy-a-book/new`, headers }], requestInterval(), (status) =>
  expected === 0 || status === expected ? "" : ` (expected ${expected})`,
);
