import { expect, test } from "vitest";
import { Tokens } from "../../../src/roles/tokens.ts";
import type { TokenVerdict } from "../../../src/sources/kubernetes/client.ts";
import { identity } from "../../../src/world/names.ts";

const signal = new AbortController().signal;
const jwt = (claims: unknown) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;
const token = (exp: number) => jwt({ aud: ["heddle"], exp });
const good: TokenVerdict = {
  authenticated: true,
  username: "system:serviceaccount:shop:buyer",
  audiences: ["heddle"],
  extra: { "authentication.kubernetes.io/pod-name": ["buyer-1"] },
  error: "",
};

function tokens(verdict: TokenVerdict = good, accountOfPod = identity("shop", "buyer")) {
  let now = 1_000_000;
  let asked = 0;
  let id: string | undefined = "u-1";
  const subject = new Tokens({
    audience: "heddle",
    reviewer: {
      reviewToken: () => {
        asked++;
        return Promise.resolve(verdict);
      },
    },
    proxyOf: (namespace, pod) =>
      namespace === "shop" && pod === "buyer-1" && id !== undefined ? { id, identity: accountOfPod } : undefined,
    now: () => now,
    capacity: 2,
  });
  const ask = (text = token(5000)) => subject.authenticate(`Bearer ${text}`, signal);
  return {
    subject,
    ask,
    asked: () => asked,
    wait: (ms: number) => void (now += ms),
    become: (next: string | undefined) => void (id = next),
  };
}

test("a token of the pod's own account is accepted until it ends", async () => {
  expect(await tokens().ask()).toEqual({ proxy: { id: "u-1", identity: "shop/buyer" }, until: new Date(5_000_000) });
});

test("an answer is believed for a minute, not beyond the token's end, and not for another token", async () => {
  const { ask, asked, wait } = tokens();
  await ask();
  await ask();
  expect(asked()).toBe(1);
  wait(61_000);
  await ask();
  expect(asked()).toBe(2);
  await ask(token(1062));
  expect(asked()).toBe(3);
  wait(2_000);
  expect(await ask(token(1062))).toHaveProperty("refused", expect.stringMatching(/expired/));
  expect(asked()).toBe(3);
});

test("the token of a deleted pod does not pass for that of a new pod of its name: the API server is asked again", async () => {
  const { ask, asked, become } = tokens();
  await ask();
  become("u-2");
  await ask();
  expect(asked()).toBe(2);
  await ask();
  expect(asked()).toBe(2);
});

test("a pod that is heard of later than its token is asked about once more, then known", async () => {
  const { ask, asked, become } = tokens();
  become(undefined);
  expect(await ask()).toHaveProperty("refused");
  become("u-1");
  expect(await ask()).toHaveProperty("proxy");
  await ask();
  expect(asked()).toBe(2);
});

test.each([
  ["of another audience", { ...good, audiences: ["api"] }, /not meant for heddle/],
  ["that is not valid", { ...good, authenticated: false, error: "expired" }, /expired/],
  ["of a user", { ...good, username: "admin" }, /no ServiceAccount/],
  ["that is bound to no pod", { ...good, extra: {} }, /not bound to a pod/],
  [
    "of a pod that is not known",
    { ...good, extra: { "authentication.kubernetes.io/pod-name": ["gone"] } },
    /shop\/gone is not known/,
  ],
  [
    "of a pod in another namespace",
    { ...good, username: "system:serviceaccount:other:buyer" },
    /other\/buyer-1 is not known/,
  ],
  [
    "of another account than its pod's",
    { ...good, username: "system:serviceaccount:shop:thief" },
    /is of shop\/thief and its pod runs as shop\/buyer/,
  ],
] as const)("a token %s is refused, in words that do not hold it", async (_name, verdict, words) => {
  const answer = await tokens(verdict).ask();
  expect(answer).toHaveProperty("refused", expect.stringMatching(words));
  expect(JSON.stringify(answer)).not.toContain(token(5000));
});

test("what is no bearer token is not asked about", async () => {
  const { subject, asked } = tokens();
  for (const header of [undefined, "", "Basic abc", "Bearer ", `Bearer ${"a".repeat(20_000)}`, "Bearer a b"]) {
    expect(await subject.authenticate(header, signal)).toHaveProperty("refused");
  }
  expect(asked()).toBe(0);
});

test.each([
  ["opaque", "abc", /no JWT/],
  ["in two parts", token(5000).replace(/\.y$/, ""), /no JWT/],
  ["in four parts", `${token(5000)}.z`, /no JWT/],
  ["of no JSON", "x.e30x.y", /no JWT/],
  ["of null", jwt(null), /no JWT/],
  ["of no audience", jwt({ exp: 5000 }), /not meant for heddle/],
  ["for others", jwt({ aud: ["api", "heddle2"], exp: 5000 }), /not meant for heddle/],
  ["without an end", jwt({ aud: ["heddle"] }), /when it ends/],
  ["that has ended", token(1000), /expired/],
] as const)("a token %s costs the API server nothing", async (_name, text, words) => {
  const { ask, asked } = tokens();
  expect(await ask(text)).toHaveProperty("refused", expect.stringMatching(words));
  expect(asked()).toBe(0);
});

test("the audience is the one that the flag names, for the API server too", async () => {
  const asked: (readonly string[])[] = [];
  const subject = new Tokens({
    audience: "loom",
    reviewer: {
      reviewToken: (_token, audiences) => {
        asked.push(audiences);
        return Promise.resolve({ ...good, audiences });
      },
    },
    proxyOf: () => ({ id: "u-1", identity: identity("shop", "buyer") }),
    now: () => 1_000_000,
  });
  const ask = (aud: string) => subject.authenticate(`Bearer ${jwt({ aud: [aud], exp: 5000 })}`, signal);
  expect(await ask("heddle")).toHaveProperty("refused", "the token is not meant for loom");
  expect(await ask("loom")).toHaveProperty("proxy");
  expect(asked).toEqual([["loom"]]);
});

test("an audience may be a text, as JWTs have it", async () => {
  expect(await tokens().ask(jwt({ aud: "heddle", exp: 5000 }))).toHaveProperty("proxy");
});

/** Tokens whose questions are answered when the test says so. */
function held(concurrent: number, waiting = 1_000) {
  const open: PromiseWithResolvers<TokenVerdict>[] = [];
  let asked = 0;
  const subject = new Tokens({
    audience: "heddle",
    reviewer: {
      reviewToken: () => {
        asked++;
        const question = Promise.withResolvers<TokenVerdict>();
        open.push(question);
        return question.promise;
      },
    },
    proxyOf: () => ({ id: "u-1", identity: identity("shop", "buyer") }),
    now: () => 1_000_000,
    concurrent,
    waiting,
  });
  const ask = (exp: number) => subject.authenticate(`Bearer ${token(exp)}`, signal);
  return { ask, open, asked: () => asked };
}
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a flood of tokens asks the API server few questions at a time, and every one is answered", async () => {
  const { ask, open, asked } = held(32);
  const answers = Array.from({ length: 300 }, (_, i) => ask(5000 + i));
  await turn();
  expect(asked()).toBe(32);
  while (open.length > 0) {
    expect(open.length).toBeLessThanOrEqual(32);
    for (const question of open.splice(0)) question.resolve(good);
    await turn();
  }
  for (const answer of await Promise.all(answers)) expect(answer).toHaveProperty("proxy");
  expect(asked()).toBe(300);
});

test("who shows a token while it is asked about waits for the same answer", async () => {
  const { ask, open, asked } = held(32);
  const answers = Array.from({ length: 50 }, () => ask(5000));
  await turn();
  expect(asked()).toBe(1);
  open[0]!.resolve(good);
  for (const answer of await Promise.all(answers)) expect(answer).toHaveProperty("proxy");
  await ask(5000);
  expect(asked()).toBe(1);
});

test("a question that fails is no answer: the next one asks again", async () => {
  const { ask, open, asked } = held(1);
  const both = [ask(5000), ask(5000)];
  await turn();
  open.pop()!.reject(new Error("away"));
  for (const one of await Promise.allSettled(both)) expect(one.status).toBe("rejected");
  const again = ask(5000);
  await turn();
  open.pop()!.resolve(good);
  expect(await again).toHaveProperty("proxy");
  expect(asked()).toBe(2);
});

test("when too many wait, the next is told to come again", async () => {
  const { ask, open, asked } = held(1, 1);
  const early = [ask(5000), ask(5001)];
  await turn();
  expect(await ask(5002)).toHaveProperty("refused", expect.stringMatching(/come again/));
  for (let i = 0; i < 2; i++) {
    open.pop()!.resolve(good);
    await turn();
  }
  for (const answer of await Promise.all(early)) expect(answer).toHaveProperty("proxy");
  expect(asked()).toBe(2);
});

test("no more answers are remembered than the capacity", async () => {
  const { ask, asked } = tokens();
  for (const exp of [5000, 5001, 5002, 5002, 5001]) await ask(token(exp));
  expect(asked()).toBe(3);
  await ask(token(5000));
  expect(asked()).toBe(4);
});
