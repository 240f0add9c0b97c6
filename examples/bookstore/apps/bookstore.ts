/** Sells books, counts them, and has the warehouse restock what it sold. */
import { call, log, sleep } from "./caller.ts";
import { serve } from "./serving.ts";

const identity = process.env["IDENTITY"] || "bookstore";
const warehouse = `http://bookwarehouse.${process.env["BOOKWAREHOUSE_NAMESPACE"] || "bookwarehouse"}:14001/restock-books`;
let sold = 0;
let toRestock = 0;
let restocking = false;

const counted = () => ({ headers: { Booksbought: String(sold) }, body: { identity, booksBought: sold } });

serve(identity, {
  "GET /": counted,
  "GET /books-bought": counted,
  "GET /buy-a-book/new": () => {
    sold++;
    toRestock++;
    void restock();
    return counted();
  },
  "POST /update-books-bought": (body) => {
    sold = Math.max(0, Math.trunc(Number(body)) || 0);
    return counted();
  },
  "GET /reset": () => {
    sold = 0;
    return counted();
  },
});

/** One request at a time, for all that was sold meanwhile: a busy shop sends bigger orders, not more of them. */
async function restock(): Promise<void> {
  if (restocking) return;
  restocking = true;
  let refused = 0;
  while (toRestock > 0) {
    const amount = toRestock;
    const { status, says } = await call(
      warehouse,
      { method: "POST", headers: { "content-type": "text/plain" } },
      String(amount),
    );
    if (status === 200) {
      toRestock -= amount;
      if (refused > 0) log(`restocked again, after ${refused} refusals`);
      refused = 0;
      continue;
    }
    if (refused++ === 0) log(`POST ${warehouse}: ${status || "no answer"} ${says}`);
    await sleep(Math.min(2_000, 250 * refused));
  }
  restocking = false;
}
