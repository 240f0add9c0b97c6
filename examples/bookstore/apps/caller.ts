/**
 * What the bookstore's clients share: a request now and then over kept-open connections, and a log that says what changed.
 */
import { Agent, request, type IncomingHttpHeaders, type RequestOptions } from "node:http";

/** Milliseconds. */
const TIMEOUT = 5_000;
const SUMMARY_INTERVAL = 10_000;

const agent = new Agent({ keepAlive: true, maxSockets: 4 });

export interface Answer {
  /** 0 when there was none. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** First line of the body, or why there was no answer. */
  readonly says: string;
}

/** One request. Never rejects: without an answer the status is 0. */
export function call(
  url: string,
  options: Pick<RequestOptions, "method" | "headers"> = {},
  body = "",
): Promise<Answer> {
  return new Promise((resolve) => {
    const settle = (answer: Answer): void => {
      clearTimeout(patience);
      resolve(answer);
    };
    const failed = (error: Error & { code?: string }): void =>
      settle({ status: 0, headers: {}, says: error.code ?? error.message });
    const outgoing = request(url, { ...options, agent }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (text.length < 1_000) text += chunk;
      });
      response.on("error", failed);
      response.on("end", () =>
        settle({ status: response.statusCode ?? 0, headers: response.headers, says: text.split("\n", 1)[0] ?? "" }),
      );
    });
    // From the first moment to the last byte: the time-out of a request knows only a silent socket.
    const patience = setTimeout(() => outgoing.destroy(new Error(`no answer in ${TIMEOUT / 1000} s`)), TIMEOUT);
    outgoing.on("error", failed);
    outgoing.end(body);
  });
}

export interface Errand {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Runs the errands in turn, one after the other with a pause, for ever. Says a line when an errand's outcome is another than before,
 * and every ten seconds a line of counts. `judge` adds a word to an outcome.
 */
export async function runErrands(
  errands: readonly Errand[],
  pause: number,
  judge: (status: number) => string = () => "",
): Promise<never> {
  const last = new Map<Errand, number>();
  const counts = new Map<string, number>();
  let summary = Date.now();
  for (;;) {
    for (const errand of errands) {
      const { status, headers, says } = await call(errand.url, errand);
      const from = headers["identity"] ?? "";
      if (last.get(errand) !== status) {
        last.set(errand, status);
        const detail = status === 200 ? `from ${String(from)}` : says;
        log(`${errand.method} ${errand.url}: ${status || "no answer"} ${detail}${judge(status)}`);
      }
      const key = `${new URL(errand.url).pathname} ${status || "no answer"}${from ? ` ${String(from)}` : ""}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
      if (Date.now() - summary >= SUMMARY_INTERVAL) {
        const lines = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `${name} × ${count}`);
        log(`in ${Math.round((Date.now() - summary) / 1000)} s: ${lines.join(", ")}`);
        summary = Date.now();
        counts.clear();
      }
      await sleep(pause);
    }
  }
}

export const sleep = (milliseconds: number): Promise<void> => new Promise((wake) => setTimeout(wake, milliseconds));

export const log = (line: string): void => console.log(`${new Date().toISOString()} ${line}`);

/** Milliseconds between requests: `$REQUEST_INTERVAL`, else 250. */
export const requestInterval = (): number => {
  const given = Number(process.env["REQUEST_INTERVAL"] ?? 250);
  return given >= 1 ? given : 250;
};

/** `http://<service>.<namespace>:14001`, from the variables of OSM's manifests. */
export const bookstoreUrl = (): string =>
  `http://${process.env["BOOKSTORE_SVC"] || "bookstore"}.${process.env["BOOKSTORE_NAMESPACE"] || "bookstore"}:14001`;

/** As PID 1 of a container would have to: ends at once when told to. */
export function endOnSignals(): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
}
