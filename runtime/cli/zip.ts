/** One file out of a zip archive (a Python wheel is one), streamed. Stored and deflated entries; no zip64, no encryption. */
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { createInflateRaw } from "node:zlib";
import { formatError } from "../formats/json";

export interface ZipEntry {
  name: string;
  /** Inflated. */
  bytes: number;
  /** The entry's contents. A damaged archive destroys the stream with the error. */
  stream(): Readable;
}

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;

/** Reads the central directory. Throws MODEL_FORMAT where the file is no zip, or one that this reader does not know. */
export async function readZip(file: string): Promise<ZipEntry[]> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const tail = await readAt(handle, file, Math.max(0, size - END_BYTES - MAX_COMMENT_BYTES), size);
    let end = tail.length - END_BYTES;
    while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
    if (end < 0) throw formatError(file, "must be a zip archive but has no central directory. Is it whole?");
    const start = tail.readUInt32LE(end + 16);
    const directory = await readAt(handle, file, start, start + tail.readUInt32LE(end + 12));
    const entries: ZipEntry[] = [];
    for (let at = 0; at + 46 <= directory.length; ) {
      if (directory.readUInt32LE(at) !== DIRECTORY_ENTRY)
        throw formatError(file, `has a damaged central directory at byte ${start + at}.`);
      const nameBytes = directory.readUInt16LE(at + 28);
      entries.push(
        await locate(handle, file, {
          name: directory.toString("utf8", at + 46, at + 46 + nameBytes),
          method: directory.readUInt16LE(at + 10),
          packed: directory.readUInt32LE(at + 20),
          bytes: directory.readUInt32LE(at + 24),
          header: directory.readUInt32LE(at + 42),
        }),
      );
      at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    }
    return entries;
  } finally {
    await handle.close();
  }
}

interface DirectoryEntry {
  name: string;
  method: number;
  packed: number;
  bytes: number;
  header: number;
}

/** The local header repeats the name, and may have other extra fields: only it says where the data begin. */
async function locate(
  handle: FileHandle,
  file: string,
  { name, method, packed, bytes, header }: DirectoryEntry,
): Promise<ZipEntry> {
  if (method !== 0 && method !== 8) throw formatError(file, `${name} must be stored or deflated but has method ${method}.`);
  const local = await readAt(handle, file, header, header + 30);
  if (local.readUInt32LE(0) !== LOCAL_HEADER) throw formatError(file, `${name} has no local header at byte ${header}.`);
  const start = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  return {
    name,
    bytes,
    stream() {
      if (packed === 0) return Readable.from([]);
      const raw = createReadStream(file, { start, end: start + packed - 1, highWaterMark: 2 ** 20 });
      if (method === 0) return raw;
      const inflate = createInflateRaw({ chunkSize: 2 ** 20 });
      raw.on("error", (error) => inflate.destroy(error));
      return raw.pipe(inflate);
    },
  };
}

async function readAt(handle: FileHandle, file: string, from: number, to: number): Promise<Buffer> {
  const buffer = Buffer.alloc(to - from);
  const { bytesRead } = await handle.read(buffer, 0, to - from, from);
  if (bytesRead < to - from) throw formatError(file, `must reach byte ${to} but ends before. Is it whole?`);
  return buffer;
}
