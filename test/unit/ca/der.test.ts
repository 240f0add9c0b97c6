import { createPrivateKey, X509Certificate } from "node:crypto";
import * as peculiar from "./peculiar.ts";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as der from "../../../src/ca/der.ts";
import { makeKeyPair, signerOf, type Signer } from "../../../src/ca/keys.ts";
import { encodeName, readCertificate, signCertificate, type Template } from "../../../src/ca/x509.ts";

const pair = await makeKeyPair("ecdsa-p256");
const signer = signerOf(createPrivateKey(pair.privateKey.revealPem())) as Signer;
const base: Template = {
  issuer: encodeName({ commonName: "issuer" }),
  subject: encodeName({ commonName: "subject" }),
  publicKey: pair.publicKey,
  notBefore: 0,
  notAfter: 1000,
  ca: false,
  keyUsage: ["digitalSignature"],
  extendedKeyUsage: [],
  altNames: [],
};

/** A certificate whose serial is any INTEGER: the parser of another library says what was written. */
const withSerial = (serial: Buffer): Buffer =>
  der.sequence(
    der.sequence(
      der.tlv(der.context(0, "constructed"), der.integer(2)),
      serial,
      signer.algorithm,
      base.issuer,
      der.sequence(der.time(0), der.time(1000)),
      base.subject,
      base.publicKey,
    ),
    signer.algorithm,
    der.bitString(Buffer.alloc(8)),
  );

describe("INTEGER", () => {
  test("any number arrives in Node's parser and in @peculiar/x509", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 2n ** 159n }), (value) => {
        const bytes = withSerial(der.integer(value));
        expect(BigInt(`0x${new X509Certificate(bytes).serialNumber}`)).toBe(value);
        expect(BigInt(`0x${new peculiar.X509Certificate(bytes).serialNumber}`)).toBe(value);
      }),
      { numRuns: 200 },
    );
  });

  test("is minimal and never negative, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 40 }), (bytes) => {
        const { content } = der.read(der.unsigned(bytes));
        expect(content[0]! & 0x80).toBe(0);
        if (content.length > 1) expect(content[0] !== 0 || content[1]! & 0x80).toBeTruthy();
        expect(BigInt(`0x${content.toString("hex")}`)).toBe(BigInt(`0x0${Buffer.from(bytes).toString("hex")}`));
      }),
    );
  });

  test.each([
    [0, "020100"],
    [127, "02017f"],
    [128, "02020080"],
    [256, "02020100"],
    [65_535, "020300ffff"],
  ])("%i is %s", (value, hex) => {
    expect(der.integer(value).toString("hex")).toBe(hex);
  });

  test("negative numbers are refused", () => {
    expect(() => der.integer(-1)).toThrow(RangeError);
  });
});

describe("OBJECT IDENTIFIER", () => {
  const arc = fc.bigInt({ min: 0n, max: 2n ** 70n });
  const dotted = fc
    .tuple(fc.integer({ min: 0, max: 2 }), arc, fc.array(arc, { maxLength: 8 }))
    .map(([first, second, rest]) => [first, first < 2 ? second % 40n : second, ...rest].join("."));

  test("any one is read as it was written", () => {
    fc.assert(
      fc.property(dotted, (text) => {
        expect(der.oidText(der.read(der.oid(text)).content)).toBe(text);
      }),
    );
  });

  test("any one arrives in @peculiar/x509, as the type of an extension", async () => {
    const small = fc.integer({ min: 0, max: 2 ** 31 - 1 });
    const arcs = fc.tuple(fc.integer({ min: 0, max: 39 }), fc.array(small, { minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(arcs, ([second, rest]) => {
        const text = [1, second, ...rest].join(".");
        const extension = der.sequence(der.oid(text), der.octetString(Buffer.from([5, 0])));
        expect(new peculiar.Extension(extension).type).toBe(text);
      }),
    );
  });

  test.each(["", "1", "3.1", "1.40", "1.2.", "1.02", "1.-2", "a.b", "1.2\n"])("%j is refused", (text) => {
    expect(() => der.oid(text)).toThrow(RangeError);
  });
});

describe("lengths", () => {
  test("any content is read as it was written", () => {
    const size = fc.oneof(fc.nat(300), fc.constantFrom(127, 128, 255, 256, 65_535, 65_536, 70_000));
    fc.assert(
      fc.property(size, (bytes) => {
        const value = der.octetString(Buffer.alloc(bytes, 7));
        const element = der.read(value);
        expect(element.content.length).toBe(bytes);
        expect(element.raw.equals(value)).toBe(true);
      }),
    );
  });

  test("names of any length arrive in Node's parser and in @peculiar/x509", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), async (length) => {
        const value = "a".repeat(length);
        const { der: bytes } = await signCertificate({ ...base, altNames: [{ kind: "dns", value }] }, signer);
        expect(new X509Certificate(bytes).subjectAltName).toBe(`DNS:${value}`);
        const names = new peculiar.X509Certificate(bytes).getExtension(peculiar.SubjectAlternativeNameExtension);
        expect(names?.names.toJSON()).toEqual([{ type: "dns", value }]);
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    ["nothing", ""],
    ["a tag alone", "04"],
    ["content that is cut", "0405aabb"],
    ["a length that is cut", "0482"],
    ["indefinite length", "0480aa0000"],
    ["a length of a byte too many", "04810100"],
    ["a length of five bytes", "04850000000001aa"],
    ["a long tag", "1f8101"],
  ])("%s is refused", (_, hex) => {
    expect(() => der.read(Buffer.from(hex, "hex"))).toThrow(RangeError);
  });

  test("any bytes are read or refused, and never anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readCertificate(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("times", () => {
  test("any second from 1950 to 2150 arrives in Node's parser", async () => {
    const second = fc.integer({
      min: Date.UTC(1950, 0, 1) / 1000,
      max: Date.UTC(2150, 0, 1) / 1000,
    });
    await fc.assert(
      fc.asyncProperty(second, async (seconds) => {
        const { der: bytes } = await signCertificate({ ...base, notAfter: seconds * 1000 + 999 }, signer);
        expect(Date.parse(new X509Certificate(bytes).validTo)).toBe(seconds * 1000);
      }),
      { numRuns: 60 },
    );
  });

  test("UTCTime until 2049, GeneralizedTime after", () => {
    expect(der.time(Date.UTC(2049, 11, 31, 23, 59, 59)).toString("latin1")).toBe("\x17\x0d491231235959Z");
    expect(der.time(Date.UTC(2050, 0, 1)).toString("latin1")).toBe("\x18\x0f20500101000000Z");
  });
});

test("a bit string of named bits ends with its last bit", () => {
  expect(der.namedBits().toString("hex")).toBe("030100");
  expect(der.namedBits(0).toString("hex")).toBe("03020780");
  expect(der.namedBits(5, 6).toString("hex")).toBe("03020106");
  expect(der.namedBits(8, 0).toString("hex")).toBe("0303078080");
});

test.each(["ü", "a b", "a\nb", ""])("the name %j is not written", async (value) => {
  await expect(signCertificate({ ...base, altNames: [{ kind: "dns", value }] }, signer)).rejects.toThrow(RangeError);
});
