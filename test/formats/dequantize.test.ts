import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { OchreError } from "../../runtime/errors";
import type { DType } from "../../runtime/formats/checkpoint";
import { BLOCKS, dequantize, view } from "../../runtime/formats/dequantize";
import { f16ToF32 } from "../../runtime/formats/f16";

/** Blocks in base64, and what ggml's own Python package makes of them, f32. */
const golden: Record<string, { blocks: string; values: string }> = JSON.parse(
  readFileSync(new URL("../golden/ggml_blocks.json", import.meta.url), "utf8"),
);

/** Where a block's f16 scales stand. */
const HALVES: Partial<Record<DType, number[]>> = { Q4_1: [0, 2], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208] };

/** Blocks of random bytes whose f16 scales are finite. */
function randomBlocks(dtype: DType, count: number): Uint8Array {
  const { bytes } = BLOCKS[dtype];
  let state = 12345;
  const out = Uint8Array.from({ length: count * bytes }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  });
  for (let b = 0; b < count; b++) for (const at of HALVES[dtype] ?? [0]) out[b * bytes + at + 1] &= 0xbb;
  return out;
}

/** One value at a time, by ggml's definitions: which bits of the block make the code, the scale and the offset. */
function slow(dtype: DType, bytes: Uint8Array, index: number): number {
  const { values, bytes: blockBytes } = BLOCKS[dtype];
  const block = bytes.subarray(Math.floor(index / values) * blockBytes);
  const i = index % values;
  const half = (at: number) => f16ToF32(block[at] + 256 * block[at + 1]);
  const signed = (byte: number) => (byte < 128 ? byte : byte - 256);
  /** `count` bits of byte `at` from bit `from` on. */
  const bits = (at: number, from: number, count: number) => Math.floor(block[at] / 2 ** from) % 2 ** count;
  /** Nibbles of `n` bytes: the low ones are the first n values, the high ones the next. */
  const nibble = (start: number, n: number, j: number) => (j < n ? bits(start + j, 0, 4) : bits(start + j - n, 4, 4));
  if (dtype === "Q8_0") return Math.fround(half(0) * signed(block[2 + i]));
  if (dtype === "Q4_0") return Math.fround((nibble(2, 16, i) - 8) * half(0));
  if (dtype === "Q4_1") return Math.fround(nibble(4, 16, i) * half(0) + half(2));
  if (dtype === "Q6_K") {
    const [part, j] = [Math.floor(i / 128), i % 128];
    const code = nibble(64 * part, 64, j) + 16 * bits(128 + 32 * part + (j % 32), 2 * Math.floor(j / 32), 2);
    return Math.fround(Math.fround(half(208) * signed(block[192 + Math.floor(i / 16)])) * (code - 32));
  }
  const s = Math.floor(i / 32);
  const scale = s < 4 ? bits(4 + s, 0, 6) : bits(8 + s, 0, 4) + 16 * bits(s, 6, 2);
  const min = s < 4 ? bits(8 + s, 0, 6) : bits(8 + s, 4, 4) + 16 * bits(4 + s, 6, 2);
  const low = (start: number) => nibble(start + 32 * Math.floor(i / 64), 32, i % 64);
  const code = dtype === "Q4_K" ? low(16) : low(48) + 16 * bits(16 + (i % 32), s, 1);
  return Math.fround(code * Math.fround(half(0) * scale) - Math.fround(half(2) * min));
}

describe("ggml blocks", () => {
  test.each<DType>(["Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K"])("%s agrees with the definition, to the bit", (dtype) => {
    const bytes = randomBlocks(dtype, 50);
    const values = dequantize(dtype, bytes);
    expect(values.length).toBe(50 * BLOCKS[dtype].values);
    // + 0: the sign of a zero is free.
    expect(Array.from(values, (v) => v + 0)).toEqual(Array.from(values, (_, i) => slow(dtype, bytes, i) + 0));
  });

  const types = Object.keys(golden) as DType[];

  test("of every readable type have golden values", () => {
    const blocks = (Object.keys(BLOCKS) as DType[]).filter((dtype) => BLOCKS[dtype].values > 1);
    expect(types.sort()).toEqual(blocks.sort());
  });

  test.each(types)("%s gives the golden values, to the bit", (dtype) => {
    const blocks = new Uint8Array(Buffer.from(golden[dtype].blocks, "base64"));
    const expected = view(new Uint8Array(Buffer.from(golden[dtype].values, "base64")), Float32Array);
    expect(expected.length).toBe((blocks.length / BLOCKS[dtype].bytes) * BLOCKS[dtype].values);
    expect(new Set(expected).size).toBeGreaterThan(64);
    expect(Array.from(dequantize(dtype, blocks), (v) => v + 0)).toEqual(Array.from(expected, (v) => v + 0));
  });

  test("Q4_1 by hand: d = 0.5, m = -1, low nibbles first", () => {
    const bytes = new Uint8Array(20).fill(0x31);
    bytes.set([0x00, 0x38, 0x00, 0xbc]);
    expect([...dequantize("Q4_1", bytes)]).toEqual([...Array(16).fill(-0.5), ...Array(16).fill(0.5)]);
  });

  test("MXFP4 by hand: every E2M1 value times 2^1", () => {
    const bytes = Uint8Array.of(128, ...Array.from({ length: 16 }, (_, i) => i));
    const magnitudes = [0, 1, 2, 3, 4, 6, 8, 12];
    const expected = [...magnitudes, ...magnitudes.map((m) => -m), ...Array(16).fill(0)];
    expect([...dequantize("MXFP4", bytes)]).toEqual(expected);
  });

  test("half a block is a defect of the caller's", () => {
    expect(() => dequantize("Q8_0", new Uint8Array(35))).toThrow(OchreError);
  });
});

test("bytes at an odd address are read all the same", () => {
  const bytes = new Uint8Array(9);
  new DataView(bytes.buffer).setFloat32(1, 1.25, true);
  new DataView(bytes.buffer).setFloat32(5, -8, true);
  expect([...dequantize("F32", bytes.subarray(1))]).toEqual([1.25, -8]);
  expect(view(bytes.subarray(0, 8), Uint32Array).buffer).toBe(bytes.buffer);
});
