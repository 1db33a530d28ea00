import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OchreError } from "../../runtime/errors";
import { bytesSource } from "../../runtime/formats/byte-source";
import type { ByteSource, DType } from "../../runtime/formats/checkpoint";
import { f32ArrayToF16 } from "../../runtime/formats/f16";
import { encodeSafetensors, openSafetensors, readSafetensorsHeader } from "../../runtime/formats/safetensors";

const files = { config: {} };
const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const tensor = (name: string, dtype: DType, shape: number[], values: ArrayBufferView) => ({
  name,
  dtype,
  shape,
  bytes: bytesOf(values),
});
const open = (bytes: Uint8Array) => openSafetensors("model", [bytesSource("a.safetensors", bytes)], files);

/** A file with a hand-written header, and `data` zero bytes. */
function raw(header: string, data: number): ByteSource {
  const json = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + json.length + data);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return bytesSource("bad.safetensors", file);
}

describe("reading what was written", () => {
  test("every type comes back as f32", async () => {
    const file = encodeSafetensors([
      tensor("f64", "F64", [2], new Float64Array([1.5, -2])),
      tensor("f32", "F32", [1, 2], new Float32Array([0.1, 3])),
      tensor("f16", "F16", [3], f32ArrayToF16([1, -0.5, 65504])),
      tensor("bf16", "BF16", [2], new Uint16Array([0x3f80, 0xc040])),
      tensor("i64", "I64", [1], new BigInt64Array([-5n])),
      tensor("i32", "I32", [1], new Int32Array([-7])),
      tensor("i16", "I16", [1], new Int16Array([-300])),
      tensor("i8", "I8", [3], new Int8Array([-128, 0, 127])),
      tensor("u8", "U8", [1], new Uint8Array([200])),
      tensor("u32", "U32", [1], new Uint32Array([0xffffff00])),
      tensor("bool", "BOOL", [2], new Uint8Array([1, 0])),
      tensor("empty", "F32", [0, 4], new Float32Array(0)),
    ]);
    const checkpoint = await open(file);
    const values = Object.fromEntries(
      await Promise.all([...checkpoint.tensors.keys()].map(async (name) => [name, [...(await checkpoint.read(name))]])),
    );
    expect(values).toEqual({
      f64: [1.5, -2],
      f32: [Math.fround(0.1), 3],
      f16: [1, -0.5, 65504],
      bf16: [1, -3],
      i64: [-5],
      i32: [-7],
      i16: [-300],
      i8: [-128, 0, 127],
      u8: [200],
      u32: [0xffffff00],
      bool: [1, 0],
      empty: [],
    });
    expect(checkpoint.tensors.get("f32")).toEqual({ name: "f32", dtype: "F32", shape: [1, 2], bytes: 8 });
  });

  test("the header is padded to 8 bytes and keeps order and metadata", async () => {
    const file = encodeSafetensors([tensor("b", "U8", [1], new Uint8Array([1])), tensor("0", "U8", [1], new Uint8Array([2]))], {
      format: "pt",
    });
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    expect(length % 8).toBe(0);
    expect(new TextDecoder().decode(file.subarray(8, 8 + length)).trimEnd()).toBe(
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"0":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
    );
    const header = await readSafetensorsHeader(bytesSource("a", file));
    expect([header.tensors.map((t) => t.name), [...header.metadata]]).toEqual([["b", "0"], [["format", "pt"]]]);
  });

  test("a tensor called __proto__ is only a tensor", async () => {
    const checkpoint = await open(encodeSafetensors([tensor("__proto__", "U8", [1], new Uint8Array([9]))]));
    expect([...(await checkpoint.read("__proto__"))]).toEqual([9]);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });

  test("shards join, and stream in order reading each byte once", async () => {
    const reads: [string, number, number][] = [];
    const counted = (name: string, bytes: Uint8Array): ByteSource => {
      const source = bytesSource(name, bytes);
      return {
        name,
        size: source.size,
        read: (offset, length) => {
          reads.push([name, offset, length]);
          return source.read(offset, length);
        },
      };
    };
    const big = new Uint8Array(9 * 2 ** 20).fill(3);
    const first = encodeSafetensors([
      tensor("x", "U8", [3], new Uint8Array([1, 2, 3])),
      tensor("y", "F32", [1], new Float32Array([4])),
    ]);
    const second = encodeSafetensors([tensor("z", "U8", [1], new Uint8Array([5])), tensor("big", "U8", [big.length], big)]);
    const checkpoint = await openSafetensors("model", [counted("1", first), counted("2", second)], files);
    reads.length = 0;
    const seen: [string, number, number][] = [];
    for await (const { info, bytes } of checkpoint.stream()) seen.push([info.name, bytes.length, bytes.byteOffset % 8]);
    expect(seen).toEqual([
      ["x", 3, 0],
      ["y", 4, 0],
      ["z", 1, 0],
      ["big", big.length, 0],
    ]);
    expect(reads.map(([name, , length]) => [name, length])).toEqual([
      ["1", 7],
      ["2", 1],
      ["2", big.length],
    ]);
  });
});

describe("refusals", () => {
  const entry = (fields: object) => JSON.stringify({ w: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...fields } });
  test.each<[string, ByteSource, string]>([
    ["an empty file", bytesSource("bad.safetensors", new Uint8Array(3)), "at least 8 bytes but this one has 3"],
    [
      "a header beyond the file",
      bytesSource("bad.safetensors", Uint8Array.of(255, 255, 255, 255, 255, 0, 0, 0, 123, 125)),
      "the header length must be at most 2 but is 1099511627775",
    ],
    ["no JSON", raw("{nope", 0), "must be JSON"],
    ["an array for a header", raw("[]", 0), "must hold a JSON object"],
    ["an entry that is no object", raw('{"w":3}', 0), 'entry of "w" must be an object'],
    ["an unknown type", raw(entry({ dtype: "F31" }), 8), 'but is "F31"'],
    ["a type that is no string", raw(entry({ dtype: [[]] }), 8), "but is a list of 1"],
    ["a negative size", raw(entry({ shape: [-2] }), 8), "whole numbers"],
    ["a fractional size", raw(entry({ shape: [2.5] }), 8), "whole numbers"],
    ["a shape that does not fit", raw(entry({ shape: [3] }), 8), "takes 12 bytes but its data_offsets span 8"],
    ["a shape that overflows", raw(entry({ shape: [2 ** 40, 2 ** 40] }), 8), "data_offsets span 8"],
    ["missing offsets", raw(entry({ data_offsets: [0] }), 8), "two whole numbers"],
    ["offsets beyond the file", raw(entry({}), 4), "bytes but the file has"],
    ["bytes after the last tensor", raw(entry({}), 12), "bytes but the file has"],
    ["a gap", raw(entry({ data_offsets: [4, 12] }), 12), "must begin at byte"],
    [
      "an overlap",
      raw('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}', 6),
      "must begin at byte",
    ],
  ])("%s", async (_, source, message) => {
    const error = await readSafetensorsHeader(source).catch((e) => e);
    expect(error).toBeInstanceOf(OchreError);
    expect(error.code).toBe("MODEL_FORMAT");
    expect(error.message).toMatch(/^\[bad\.safetensors[\]:]/);
    expect(error.message).toContain(message);
  });

  test("types that the format has and we do not read", async () => {
    const source = raw('{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', 1);
    await expect(readSafetensorsHeader(source)).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
  });

  test("the same tensor in two shards, and a tensor that is not there", async () => {
    const file = encodeSafetensors([tensor("w", "U8", [1], new Uint8Array([1]))]);
    const sources = [bytesSource("1.safetensors", file), bytesSource("2.safetensors", file)];
    await expect(openSafetensors("model", sources, files)).rejects.toThrow('[2.safetensors] "w" is also in 1.safetensors.');
    const checkpoint = await open(file);
    await expect(checkpoint.read("v")).rejects.toMatchObject({
      code: "MODEL_FORMAT",
      message: '[model] there is no tensor "v".',
    });
  });

  test("a writer that lies", () => {
    const w = tensor("w", "F32", [2], new Float32Array(2));
    expect(() => encodeSafetensors([w, w])).toThrow(OchreError);
    expect(() => encodeSafetensors([{ ...w, shape: [3] }])).toThrow("12 bytes but has 8");
    expect(() => encodeSafetensors([{ ...w, dtype: "Q4_0", shape: [32], bytes: new Uint8Array(18) }])).toThrow(OchreError);
  });

  test("any damage gives a checkpoint or an OchreError, never more", async () => {
    const good = encodeSafetensors(
      [tensor("a", "F32", [2, 3], new Float32Array(6)), tensor("b", "F16", [4], new Uint16Array(4))],
      { format: "pt" },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(good.length),
        async (edits, cut) => {
          const bytes = good.slice(0, cut || good.length);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          try {
            const checkpoint = await open(bytes);
            for await (const { info } of checkpoint.stream()) await checkpoint.read(info.name);
          } catch (error) {
            if (!(error instanceof OchreError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
