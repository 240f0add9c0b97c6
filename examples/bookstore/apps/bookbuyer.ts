/** Buys a book, asks how many were sold, and again. */
import { bookstoreUrl, endOnSignals, requestInterval, runErrands } from "./caller.ts";

endOnSignals();
const bookstore = bookstoreUrl();
// What the policy's route "books-bought" asks for.
const headers = { "user-agent": "bookbuyer-http-client/1.0", "client-app": "bookbuyer" };
await runErrands(
  [
    { method: "GET", url: `${bookstore}/buy-a-book/new`, headers },
    { method: "GET", url: `${bookstore}/books-bought`, headers },
  ],
  requestInterval(),
);
