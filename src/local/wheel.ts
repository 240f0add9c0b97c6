/**
 * Takes one file out of a Python wheel (a ZIP file), so that no unzip program is needed. Knows nothing of what is in it.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";

/** Record signatures and sizes: PKWARE's APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16. */
const LOCAL_HEADER_SIZE = 30;
const CENTRAL_SIGNATURE = 0x02014b50;
const CENTRAL_HEADER_SIZE = 46;
const END_SIGNATURE = 0x06054b50;
const END_SIZE = 22;
const DEFLATED = 8;
const STORED = 0;

/**
 * Writes the entry `name` of `archive` to the new file `target` with the given mode.
 *
 * @throws Error when the archive is damaged or has no such entry.
 */
export async function extract(archive: string, name: string, target: string, mode: number): Promise<void> {
  const entry = await find(archive, name);
  const source = createReadStream(archive, { start: entry.start, end: entry.start + entry.size - 1 });
  const sink = createWriteStream(target, { mode, flags: "wx" });
  if (entry.method === DEFLATED) await pipeline(source, createInflateRaw(), sink);
  else await pipeline(source, sink);
}

async function find(archive: string, name: string): Promise<{ start: number; size: number; method: number }> {
  await using file = await open(archive);
  const { size } = await file.stat();
  const read = async (position: number, length: number): Promise<Buffer> => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
    if (bytesRead !== length) throw new Error(`${archive} is cut short`);
    return buffer;
  };
  // The end record may be followed by a comment of up to 64 kB.
  const tailSize = Math.min(size, END_SIZE + 0xffff);
  const tail = await read(size - tailSize, tailSize);
  let end = tail.length - END_SIZE;
  while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < 0) throw new Error(`${archive} is not a ZIP file`);
  const directory = await read(tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  for (let at = 0; at + CENTRAL_HEADER_SIZE <= directory.length;) {
    if (directory.readUInt32LE(at) !== CENTRAL_SIGNATURE) break;
    const nameEnd = at + CENTRAL_HEADER_SIZE + directory.readUInt16LE(at + 28);
    if (directory.toString("utf8", at + CENTRAL_HEADER_SIZE, nameEnd) === name) {
      const method = directory.readUInt16LE(at + 10);
      if (method !== DEFLATED && method !== STORED)
        throw new Error(`${name} in ${archive} is packed in an unknown way`);
      const header = directory.readUInt32LE(at + 42);
      const local = await read(header, LOCAL_HEADER_SIZE);
      const start = header + LOCAL_HEADER_SIZE + local.readUInt16LE(26) + local.readUInt16LE(28);
      return { start, size: directory.readUInt32LE(at + 20), method };
    }
    at = nameEnd + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  throw new Error(`there is no ${name} in ${archive}`);
}
