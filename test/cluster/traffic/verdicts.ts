/**
 * `node verdicts.ts URL IDLE`: watches a verdict change. It keeps so many idle connections open, and one that asks all the time. Each line of
 * its standard input is the verdict that is to come: a status, or the name of the server whose pods are to answer. It prints "watching", and,
 * when that verdict has come and every idle connection has then been asked once, a `Watched`. A program of its own: it imports nothing but Node.
 */
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";

export interface Watched {
  /** Milliseconds since the epoch: when the first answer by the new verdict had come. */
  readonly at: number;
  /** Requests in all, and of those after the first new verdict. */
  readonly requests: number;
  readonly after: number;
  /** After the first new verdict, by another one: what they got. Idle connections are named. */
  readonly old: readonly string[];
  /** Requests without an answer, and answers that are no verdict. */
  readonly errors: readonly string[];
}

/** Milliseconds in which the verdict must come, and that the asking one waits between requests. */
const PATIENCE = 30_000;
const PAUSE = 2;
/** Requests after the idle connections have been asked. */
const MORE = 50;

const [target = "", count = "8"] = process.argv.slice(2);
const connection = (): Agent => new Agent({ keepAlive: true, maxSockets: 1 });
const asking = connection();
const idle = Array.from({ length: Number(count) }, connection);

/** The status, and of a good answer the name of its server: pods are named `SERVER-HASH-ID`. */
function ask(agent: Agent): Promise<string> {
  return new Promise((resolve) => {
    const outgoing = request(target, { agent, timeout: 10_000 });
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer within 10 s")));
    outgoing.on("error", (error) => resolve(`0 ${String(error)}`));
    outgoing.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", (error) => resolve(`0 ${String(error)}`));
      response.on("end", () => {
        const name = response.statusCode === 200 ? (JSON.parse(text) as { pod: string }).pod : text.trim();
        resolve(`${response.statusCode} ${name}`);
      });
    });
    outgoing.end();
  });
}

const follows = (answer: string, wanted: string): boolean =>
  /^\d+$/.test(wanted) ? answer.startsWith(`${wanted} `) : answer.startsWith(`200 ${wanted}-`);
const isVerdict = (answer: string): boolean => /^(200|403) /.test(answer);
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE));

async function watch(wanted: string): Promise<Watched> {
  const [old, errors]: string[][] = [[], []];
  let requests = 0;
  let after = 0;
  const next = async (agent: Agent): Promise<string> => {
    requests++;
    const answer = await ask(agent);
    if (!isVerdict(answer)) errors!.push(answer);
    return answer;
  };
  const late = performance.now() + PATIENCE;
  console.log("watching");
  while (!follows(await next(asking), wanted)) {
    if (performance.now() > late)
      throw new Error(`no verdict ${wanted} within ${PATIENCE / 1000} s: ${errors!.at(-1)}`);
    await pause();
  }
  const at = performance.timeOrigin + performance.now();
  for (const [i, agent] of [...idle, ...Array<Agent>(MORE).fill(asking)].entries()) {
    after++;
    const answer = await next(agent);
    if (!follows(answer, wanted)) old!.push(i < idle.length ? `idle connection ${i}: ${answer}` : answer);
  }
  return { at, requests, after, old: old!, errors: errors! };
}

// Opens them; whatever the answer.
await Promise.all([asking, ...idle].map(ask));
console.log("open");
for await (const wanted of createInterface({ input: process.stdin })) console.log(JSON.stringify(await watch(wanted)));
process.exit(0);
