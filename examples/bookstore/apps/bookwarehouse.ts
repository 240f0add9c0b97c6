/** Counts the books that it hands out and books them in the database, as soon as there is one. */
import { connect, type Socket } from "node:net";
import { log } from "./caller.ts";
import { serve } from "./serving.ts";

const DATABASE = { host: `mysql.${process.env["BOOKWAREHOUSE_NAMESPACE"] || "bookwarehouse"}`, port: 3306 };
/** Milliseconds. */
const RECONNECT_AFTER = { least: 500, most: 5_000 };

let restocked = 0;
/** What the database does not know of yet; `sent` of it is on its way. */
let unbooked = 0;
let sent = 0;
let database: Socket | undefined;

serve("bookwarehouse", {
  "GET /": () => ({ body: { restocked, unbooked } }),
  "POST /restock-books": (body) => {
    const amount = Number(body);
    if (!Number.isInteger(amount) || amount < 1 || amount > 1e6) {
      return { status: 400, body: { error: `"${body}" is not a number of books` } };
    }
    restocked += amount;
    unbooked += amount;
    book();
    return { headers: { Restocked: String(amount) }, body: { restocked: amount, total: restocked } };
  },
});
keepConnected(RECONNECT_AFTER.least);

/** One line on its way at a time. */
function book(): void {
  if (!database || sent > 0 || unbooked === 0) return;
  sent = unbooked;
  database.write(`ADD ${sent}\n`);
}

function keepConnected(pause: number): void {
  const socket = connect(DATABASE);
  socket.setEncoding("utf8").setKeepAlive(true, 10_000);
  let text = "";
  let reason = "it closed the connection";
  let wasOpen = false;
  socket.on("data", (chunk: string) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      // The database speaks first.
      if (line.startsWith("BOOKS ")) {
        wasOpen = true;
        database = socket;
        log(`database ${DATABASE.host}:${DATABASE.port} is there`);
      } else if (line.startsWith("TOTAL ")) {
        unbooked -= sent;
        sent = 0;
      }
      book();
    }
  });
  socket.on("error", (error: NodeJS.ErrnoException) => (reason = error.code ?? error.message));
  socket.on("close", () => {
    // What was on its way may be booked or not; twice is better than never here.
    sent = 0;
    database = undefined;
    if (wasOpen || pause === RECONNECT_AFTER.least)
      log(`database ${DATABASE.host}:${DATABASE.port} is not there: ${reason}`);
    const next = wasOpen ? RECONNECT_AFTER.least : Math.min(pause * 2, RECONNECT_AFTER.most);
    setTimeout(() => keepConnected(next), pause);
  });
}
