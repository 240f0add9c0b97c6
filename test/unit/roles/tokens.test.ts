import { expect, test } from "vitest";
import { Tokens } from "../../../src/roles/tokens.ts";
import type { TokenVerdict } from "../../../src/sources/kubernetes/client.ts";
import { identity } from "../../../src/world/names.ts";

const signal = new AbortController().signal;
const token = (exp: number) => `x.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.y`;
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
  await ask(token(1062));
  expect(asked()).toBe(4);
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

test("no more answers are remembered than the capacity", async () => {
  const { ask, asked } = tokens();
  for (const exp of [5000, 5001, 5002, 5002, 5001]) await ask(token(exp));
  expect(asked()).toBe(3);
  await ask(token(5000));
  expect(asked()).toBe(4);
});
