import type { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { allAddresses } from "../../../src/roles/cluster.ts";

type Interfaces = ReturnType<typeof networkInterfaces>;

test("roles listen at both families where the pod has an address of both, and never need a family that the kernel lacks", () => {
  const made = (address: string, more: object) => ({ address, netmask: "", mac: "", cidr: null, ...more });
  const lo = [
    made("127.0.0.1", { family: "IPv4", internal: true }),
    made("::1", { family: "IPv6", internal: true, scopeid: 0 }),
  ];
  const four = made("10.1.0.7", { family: "IPv4", internal: false });
  const link = made("fe80::7", { family: "IPv6", internal: false, scopeid: 2 });
  const six = made("fd00::7", { family: "IPv6", internal: false, scopeid: 0 });
  const where = (...eth0: object[]) => allAddresses({ lo, eth0 } as unknown as Interfaces);
  expect([where(four), where(four, link), where(four, link, six), where(six)]).toEqual([
    "0.0.0.0",
    "0.0.0.0",
    "::",
    "::",
  ]);
});
