import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { deflateRawSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readZip } from "../../runtime/cli/zip";

/** A zip archive as Python's zipfile lays it out; local extra fields differ from those of the directory, as they may. */
function zip(entries: { name: string; data: Buffer; method: number }[], comment = ""): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, data, method } of entries) {
    const packed = method === 8 ? deflateRawSync(data) : data;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(Buffer.byteLength(name), 26);
    local.writeUInt16LE(5, 28);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt16LE(3, 30);
    central.writeUInt16LE(2, 32);
    central.writeUInt32LE(at, 42);
    parts.push(local, Buffer.from(name), Buffer.alloc(5, 0xee), packed);
    directory.push(central, Buffer.from(name), Buffer.alloc(5, 0xdd));
    at += 30 + Buffer.byteLength(name) + 5 + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(at, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, ...directory, end, Buffer.from(comment)]);
}

describe("readZip", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "ochre-zip-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const open = async (bytes: Buffer) => {
    const file = path.join(folder, "archive.whl");
    await writeFile(file, bytes);
    return readZip(file);
  };
  const large = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * i) >> 7));
  const archive = zip(
    [
      { name: "deflated.gguf", data: large, method: 8 },
      { name: "späte/Größe", data: Buffer.from("stored"), method: 0 },
      { name: "empty", data: Buffer.alloc(0), method: 0 },
    ],
    "a comment with PK in it",
  );

  it("finds and streams every entry", async () => {
    const entries = await open(archive);
    expect(entries.map(({ name, bytes }) => [name, bytes])).toEqual([
      ["deflated.gguf", large.length],
      ["späte/Größe", 6],
      ["empty", 0],
    ]);
    const contents = await Promise.all(entries.map(async (entry) => Buffer.concat(await entry.stream().toArray())));
    expect(contents[0].equals(large)).toBe(true);
    expect(contents.slice(1).map(String)).toEqual(["stored", ""]);
  });

  it("refuses what is no zip, or cut short, or packed in another way", async () => {
    const cases = [Buffer.alloc(0), large, archive.subarray(0, archive.length - 60), archive.subarray(1000)];
    for (const bytes of cases) await expect(open(bytes)).rejects.toMatchObject({ code: "MODEL_FORMAT" });
    await expect(open(zip([{ name: "bz2", data: large.subarray(0, 9), method: 12 }]))).rejects.toThrow(
      /bz2 must be stored or deflated/,
    );
  });

  it("a damaged entry breaks its stream", async () => {
    const bytes = Buffer.from(archive);
    bytes.fill(0xff, 100, 400);
    const [entry] = await open(bytes);
    await expect(entry.stream().toArray()).rejects.toThrow();
  });
});
