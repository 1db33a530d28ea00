import { describe, expect, it } from "vitest";
import { BLOCK_WORDS } from "../../kernels/palette-weights";
import { interleaveRows, packBlocks } from "../../runtime/engine/pack-blocks";

describe("interleaveRows", () => {
  it("[rows, cols/32, words] to [rows/4, words, cols/32, 4 rows]", () => {
    const [rows, cols, words] = [8, 96, 2];
    const steps = cols / 32;
    const name = (row: number, step: number, word: number) => 100 * row + 10 * step + word;
    const plane = new Uint32Array(rows * steps * words);
    const expected = new Uint32Array(plane.length);
    for (let row = 0; row < rows; row++) {
      for (let step = 0; step < steps; step++) {
        for (let word = 0; word < words; word++) {
          plane[(row * steps + step) * words + word] = name(row, step, word);
          expected[((Math.floor(row / 4) * words + word) * steps + step) * 4 + (row % 4)] = name(row, step, word);
        }
      }
    }
    expect(interleaveRows(plane, cols, words)).toEqual(expected);
    expect(interleaveRows(new Uint32Array(), cols, 1)).toEqual(new Uint32Array());
  });
});

describe("packBlocks", () => {
  it("places planes and spreads palettes over sixteen entries, across stacked linears of mixed widths", () => {
    const linear = (bits: number[], first: number) => ({
      rows: 16 * bits.length,
      bits: Uint8Array.from(bits),
      palette4: Uint16Array.from({ length: 16 * bits.filter((b) => b === 4).length }, (_, i) => first + i),
      palette3: Uint16Array.from({ length: 8 * bits.filter((b) => b === 3).length }, (_, i) => first + 100 + i),
      palette2: Uint16Array.from({ length: 4 * bits.filter((b) => b === 2).length }, (_, i) => first + 200 + i),
      rowScale: Uint16Array.from({ length: 16 * bits.length }, (_, r) => first + 300 + r),
    });
    const words = packBlocks([linear([4, 2, 3], 1000), linear([4], 5000)]);
    const halves = new Uint16Array(words.buffer);
    const block = (b: number) => [...words.subarray(b * BLOCK_WORDS, b * BLOCK_WORDS + 3)];
    const palette = (b: number) => [...halves.subarray(2 * (b * BLOCK_WORDS + 4), 2 * (b * BLOCK_WORDS + 12))];
    const scale = (b: number, r: number) => halves[2 * (b * BLOCK_WORDS + 12) + r];
    expect([0, 1, 2, 3].map(block)).toEqual([
      [4, 0, 0],
      [2, 16, 16],
      [3, 16, 16],
      [4, 32, 16],
    ]);
    expect(palette(0)).toEqual(Array.from({ length: 16 }, (_, c) => 1000 + c));
    expect(palette(1)).toEqual(Array.from({ length: 16 }, (_, c) => 1200 + (c >> 2)));
    expect(palette(2)).toEqual(Array.from({ length: 16 }, (_, c) => 1100 + (c >> 1)));
    expect(palette(3)).toEqual(Array.from({ length: 16 }, (_, c) => 5000 + c));
    expect([scale(1, 0), scale(2, 15), scale(3, 7)]).toEqual([1316, 1347, 5307]);
  });
});
