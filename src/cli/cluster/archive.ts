/**
 * Files → one tar archive, as POSIX has it (ustar). Knows nothing of what is in them. Pure.
 */

export interface ArchiveFile {
  /** Relative; at most 255 bytes, whatever is longer is cut. */
  readonly path: string;
  readonly content: string | Uint8Array;
}

const BLOCK = 512;

/** Everything belongs to nobody and was written at `time` (seconds since the epoch). */
export function tar(files: readonly ArchiveFile[], time: number): Buffer {
  const parts: Buffer[] = [];
  for (const { path, content } of files) {
    const body = typeof content === "string" ? Buffer.from(content) : Buffer.from(content);
    parts.push(header(path, body.length, time), body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

function header(path: string, size: number, time: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const [prefix, name] = split(path);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "ascii");
  block.write(name, 0, 100, "utf8");
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(time, 136, 12);
  block.write("        ", 148, "ascii");
  block.write("0", 156, "ascii");
  block.write("ustar\0", 257, "ascii");
  block.write("00", 263, "ascii");
  block.write(prefix, 345, 155, "utf8");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "ascii");
  return block;
}

/** A path of more than 100 bytes is cut at a slash into two fields. */
function split(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ["", path];
  for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
    const name = path.slice(at + 1);
    if (Buffer.byteLength(name) <= 100 && at <= 155) return [path.slice(0, at), name];
  }
  return ["", Buffer.from(path).subarray(-100).toString("utf8")];
}
