import { describe, expect, test } from "vitest";
import { OchreError } from "../../runtime/errors";
import type { DType } from "../../runtime/formats/checkpoint";
import { BLOCKS, dequantize, view } from "../../runtime/formats/dequantize";
import { f16ToF32 } from "../../runtime/formats/f16";

/** Blocks of random bytes whose f16 scales are finite. */
function randomBlocks(dtype: DType, count: number): Uint8Array {
  const { bytes } = BLOCKS[dtype];
  let state = 12345;
  const out = Uint8Array.from({ length: count * bytes }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  });
  const halves = dtype === "Q4_1" ? 2 : 1;
  for (let b = 0; b < count; b++) for (let h = 0; h < halves; h++) out[b * bytes + 2 * h + 1] &= 0xbb;
  return out;
}

/** One value at a time, as ggml defines it. */
function slow(dtype: DType, bytes: Uint8Array, index: number): number {
  const block = bytes.subarray(Math.floor(index / 32) * BLOCKS[dtype].bytes);
  const half = (at: number) => f16ToF32(block[at] + 256 * block[at + 1]);
  const i = index % 32;
  const nibble = (start: number) => (i < 16 ? block[start + i] % 16 : Math.floor(block[start + i - 16] / 16));
  if (dtype === "Q8_0") return Math.fround(half(0) * (block[2 + i] < 128 ? block[2 + i] : block[2 + i] - 256));
  if (dtype === "Q4_0") return Math.fround((nibble(2) - 8) * half(0));
  return Math.fround(nibble(4) * half(0) + half(2));
}

describe("ggml blocks", () => {
  test.each<DType>(["Q8_0", "Q4_0", "Q4_1"])("%s agrees with the definition, to the bit", (dtype) => {
    const bytes = randomBlocks(dtype, 50);
    const values = dequantize(dtype, bytes);
    expect(values.length).toBe(1600);
    // + 0: the sign of a zero is free.
    expect(Array.from(values, (v) => v + 0)).toEqual(Array.from(values, (_, i) => slow(dtype, bytes, i) + 0));
  });

  test("Q4_1 by hand: d = 0.5, m = -1, low nibbles first", () => {
    const bytes = new Uint8Array(20).fill(0x31);
    bytes.set([0x00, 0x38, 0x00, 0xbc]);
    expect([...dequantize("Q4_1", bytes)]).toEqual([...Array(16).fill(-0.5), ...Array(16).fill(0.5)]);
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
