import { once } from "node:events";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { decode, encode, streamDecode, streamEncode, type Packet } from "dns-packet";
import { afterEach, expect, test } from "vitest";
import { answer, nameTable, type NamedService } from "../../../src/local/names.ts";
import { NameServer } from "../../../src/local/name-server.ts";

const services: NamedService[] = [
  {
    kind: "clusterIP",
    namespace: "bookstore",
    name: "bookstore",
    ip: "10.65.0.1",
    ports: [{ name: "http", port: 80, protocol: "TCP" }],
  },
  {
    kind: "headless",
    namespace: "db",
    name: "mysql",
    endpoints: [{ ip: "10.64.1.2", hostname: "mysql-0" }, { ip: "10.64.1.1" }],
    ports: [{ name: "sql", port: 3306, protocol: "TCP" }],
  },
  { kind: "headless", namespace: "db", name: "empty", endpoints: [] },
  { kind: "externalName", namespace: "db", name: "alias", target: "bookstore.bookstore.svc.cluster.local." },
  { kind: "externalName", namespace: "db", name: "outside", target: "example.com" },
  { kind: "externalName", namespace: "db", name: "loop", target: "loop.db.svc.cluster.local" },
];
const table = nameTable(services);
const ask = (name: string, type: "A" | "AAAA" | "CNAME" | "SRV" = "A") => {
  const { code, answers } = answer(table, { name, type, class: "IN" });
  return [
    code,
    ...answers.map((a) => `${a.name} ${a.type} ${JSON.stringify("data" in a ? a.data : "").replaceAll('"', "")}`),
  ];
};

test.each([
  [
    "a Service",
    "bookstore.bookstore.svc.cluster.local",
    "A",
    ["NOERROR", "bookstore.bookstore.svc.cluster.local A 10.65.0.1"],
  ],
  [
    "its name in other letters",
    "BookStore.bookstore.svc.cluster.LOCAL",
    "A",
    ["NOERROR", "BookStore.bookstore.svc.cluster.LOCAL A 10.65.0.1"],
  ],
  ["a type it has not", "bookstore.bookstore.svc.cluster.local", "AAAA", ["NOERROR"]],
  [
    "a headless Service: all its pods",
    "mysql.db.svc.cluster.local",
    "A",
    ["NOERROR", "mysql.db.svc.cluster.local A 10.64.1.1", "mysql.db.svc.cluster.local A 10.64.1.2"],
  ],
  [
    "a pod by its hostname",
    "mysql-0.mysql.db.svc.cluster.local",
    "A",
    ["NOERROR", "mysql-0.mysql.db.svc.cluster.local A 10.64.1.2"],
  ],
  [
    "a pod without a hostname by its address",
    "10-64-1-1.mysql.db.svc.cluster.local",
    "A",
    ["NOERROR", "10-64-1-1.mysql.db.svc.cluster.local A 10.64.1.1"],
  ],
  ["a headless Service without pods", "empty.db.svc.cluster.local", "A", ["NOERROR"]],
  ["an unknown pod", "mysql-9.mysql.db.svc.cluster.local", "A", ["NXDOMAIN"]],
  ["an unknown Service", "nobody.db.svc.cluster.local", "A", ["NXDOMAIN"]],
  ["a bare name: search domains are the resolver's", "bookstore", "A", ["NXDOMAIN"]],
  ["a namespace: exists, has no address", "db.svc.cluster.local", "A", ["NOERROR"]],
  ["the world outside", "example.com", "A", ["NXDOMAIN"]],
  [
    "a ported name",
    "_http._tcp.bookstore.bookstore.svc.cluster.local",
    "SRV",
    [
      "NOERROR",
      "_http._tcp.bookstore.bookstore.svc.cluster.local SRV {target:bookstore.bookstore.svc.cluster.local,port:80,priority:0,weight:0}",
    ],
  ],
  [
    "an ExternalName of a Service",
    "alias.db.svc.cluster.local",
    "A",
    [
      "NOERROR",
      "alias.db.svc.cluster.local CNAME bookstore.bookstore.svc.cluster.local",
      "bookstore.bookstore.svc.cluster.local A 10.65.0.1",
    ],
  ],
  [
    "an ExternalName that leads out",
    "outside.db.svc.cluster.local",
    "A",
    ["NOERROR", "outside.db.svc.cluster.local CNAME example.com"],
  ],
  [
    "an ExternalName's CNAME",
    "alias.db.svc.cluster.local",
    "CNAME",
    ["NOERROR", "alias.db.svc.cluster.local CNAME bookstore.bookstore.svc.cluster.local"],
  ],
] as const)("%s", (_what, name, type, expected) => {
  expect(ask(name, type)).toEqual(expected);
});

test("an ExternalName that names itself ends", () => {
  expect(ask("loop.db.svc.cluster.local").length).toBeLessThan(10);
});

const server = new NameServer();
afterEach(() => server.stop());

const query = (name: string, udpPayloadSize?: number): Packet => ({
  type: "query",
  id: 77,
  flags: 0x100,
  questions: [{ name, type: "A", class: "IN" }],
  ...(udpPayloadSize !== undefined && {
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  }),
});

async function overUdp(port: number, message: Buffer): Promise<ReturnType<typeof decode> & { rcode: string }> {
  const socket = createSocket("udp4");
  try {
    socket.send(message, port, "127.0.0.1");
    const [reply] = (await once(socket, "message")) as [Buffer];
    return decode(reply) as ReturnType<typeof decode> & { rcode: string };
  } finally {
    socket.close();
  }
}

test("the server answers over UDP, and over TCP what is too long for UDP", async () => {
  const endpoints = Array.from({ length: 100 }, (_, i) => ({ ip: `10.64.1.${i + 1}` }));
  server.setNames([...services, { kind: "headless", namespace: "db", name: "many", endpoints }]);
  const port = await server.start("127.0.0.1", 0);

  const short = await overUdp(port, encode(query("mysql.db.svc.cluster.local")));
  expect([short.id, short.rcode, short.answers?.length]).toEqual([77, "NOERROR", 2]);

  const none = await overUdp(port, encode(query("nobody.db.svc.cluster.local", 4096)));
  expect([none.rcode, none.answers?.length]).toEqual(["NXDOMAIN", 0]);

  const long = await overUdp(port, encode(query("many.db.svc.cluster.local", 1232)));
  expect([long.flag_tc, long.answers?.length]).toEqual([true, 0]);

  const stream = connect(port, "127.0.0.1");
  stream.write(streamEncode(query("many.db.svc.cluster.local")));
  let bytes = Buffer.alloc(0);
  for await (const chunk of stream) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) break;
  }
  expect(streamDecode(bytes)?.answers?.length).toBe(100);
});

test("what is no question gets an error or nothing, and the next one is answered", async () => {
  server.setNames(services);
  const port = await server.start("127.0.0.1", 0);
  const broken = Buffer.concat([encode(query("a")).subarray(0, 12), Buffer.from([63, 1])]);
  expect((await overUdp(port, broken)).rcode).toBe("FORMERR");
  expect((await overUdp(port, encode(query("mysql.db.svc.cluster.local")))).rcode).toBe("NOERROR");
});

test("a taken port is a sentence that says what to do", async () => {
  const port = await server.start("127.0.0.1", 0);
  const second = new NameServer();
  await expect(second.start("127.0.0.1", port)).rejects.toThrow(/is taken: another name server.*ss -lntup/);
});
