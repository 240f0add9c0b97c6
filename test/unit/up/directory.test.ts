import { expect, test } from "vitest";
import { directoryOf } from "../../../src/up/directory.ts";
import { namespace, service, slice, world } from "../../support/build.ts";

test("an IPv6 endpoint in the folder takes no rule and no name of the others along", () => {
  const { names, ports } = directoryOf(
    world(
      namespace("a"),
      service("a/api", { clusterIP: "10.1.0.9" }),
      slice("a/api", { "": 80 }, ["10.2.0.1"], "four"),
      slice("a/api", { "": 80 }, ["fd00::1"], "six"),
      service("a/pods", { headless: true }),
      slice("a/pods", { "": 80 }, ["10.2.0.1", "fd00::1"]),
    ),
  );
  expect(ports).toEqual([
    { ip: "10.1.0.9", port: 80, protocol: "TCP", endpoints: [expect.objectContaining({ ip: "10.2.0.1", port: 80 })] },
  ]);
  expect(names).toEqual([
    expect.objectContaining({ kind: "clusterIP", ip: "10.1.0.9" }),
    expect.objectContaining({ kind: "headless", endpoints: [{ ip: "10.2.0.1" }] }),
  ]);
});
