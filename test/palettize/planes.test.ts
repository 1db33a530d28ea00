import { describe, expect, it } from "vitest";
import { OchreError } from "../../runtime/errors";
import { f32ArrayToF16, roundToF16 } from "../../runtime/formats/f16";
import { dequantizeLinear, unpackCodes } from "../../runtime/formats/palettized-linear";
import { packPlanes } from "../../runtime/palettize/planes";
import { makeRandom } from "./random";

/** [rows, cols, width of each block]. */
const SHAPES: [number, number, number[]][] = [
  [16, 64, [4]],
  [16, 64, [3]],
  [16, 64, [2]],
  [48, 128, [2, 3, 4]],
  [80, 192, [4, 2, 3, 4, 2]],
  [21, 70, [3, 4]],
  [1, 1, [4]],
  [33, 65, [2, 2, 2]],
];

describe("planes", () => {
  it.each(SHAPES)("round trip [%i, %i] with widths %j", (rows, cols, widths) => {
    const random = makeRandom(rows * 1000 + cols);
    const bits = Uint8Array.from(widths);
    const codes = Uint8Array.from({ length: rows * cols }, (_, i) => random.below(1 << widths[Math.floor(i / cols / 16)]));
    expect(unpackCodes(packPlanes(codes, bits, rows, cols), rows, cols)).toEqual(codes);
  });

  it.each([2, 3, 4])("all ones at %i bits set every bit of every plane", (width) => {
    const planes = packPlanes(new Uint8Array(16 * 64).fill((1 << width) - 1), Uint8Array.of(width), 16, 64);
    for (const plane of [planes.plane0, planes.plane1, planes.plane2].slice(0, width - 1)) {
      expect(plane!.every((word) => word === 0xffffffff)).toBe(true);
    }
    expect(planes.plane1 !== undefined).toBe(width >= 3);
    expect(planes.plane2 !== undefined).toBe(width === 4);
  });

  it("one bit set is one bit of the right word", () => {
    for (let c = 0; c < 64; c++) {
      for (const [code, plane] of [
        [4, "plane0"],
        [8, "plane0"],
        [2, "plane1"],
        [1, "plane2"],
      ] as const) {
        const codes = new Uint8Array(16 * 64);
        codes[3 * 64 + c] = code;
        const planes = packPlanes(codes, Uint8Array.of(4), 16, 64);
        const set = (words: Uint32Array) => [...words.entries()].filter(([, word]) => word !== 0);
        const bit = plane === "plane0" ? 2 * (c & 15) + (code >> 3) : 4 * ((c & 15) >> 1) + 2 * ((c & 31) >> 4) + (c & 1);
        const word = plane === "plane0" ? 3 * 4 + (c >> 4) : 3 * 2 + (c >> 5);
        for (const name of ["plane0", "plane1", "plane2"] as const) {
          expect(set(planes[name]!)).toEqual(name === plane ? [[word, (1 << bit) >>> 0]] : []);
        }
      }
    }
  });

  it("a shifted word of plane1 meets the nibbles of two plane0 words, as the kernels read them", () => {
    const random = makeRandom(7);
    const codes = Uint8Array.from({ length: 16 * 64 }, () => random.below(8));
    const { plane0, plane1 } = packPlanes(codes, Uint8Array.of(3), 16, 64);
    for (let j = 0; j < 4; j++) {
      const pairs = (plane0[j >> 1] >>> (2 * (j & 1))) & 0x33333333;
      const ones = (plane1![0] >>> j) & 0x11111111;
      for (let n = 0; n < 8; n++) {
        const code = (((pairs >>> (4 * n)) & 3) << 1) | ((ones >>> (4 * n)) & 1);
        expect(code).toBe(codes[16 * (j >> 1) + 2 * n + (j & 1)]);
      }
    }
  });
});

describe("dequantizeLinear", () => {
  it("is palette[code] * row_scale, whatever the mix of widths", () => {
    const [rows, cols, widths] = [70, 66, [4, 2, 3, 4, 3]];
    const random = makeRandom(11);
    const bits = Uint8Array.from(widths);
    const codes = Uint8Array.from({ length: rows * cols }, (_, i) => random.below(1 << widths[Math.floor(i / cols / 16)]));
    const palette = (width: number) =>
      widths.filter((w) => w === width).map(() => Array.from({ length: 1 << width }, () => roundToF16(random.normal())));
    const palettes: Record<number, number[][]> = { 2: palette(2), 3: palette(3), 4: palette(4) };
    const scales = Array.from({ length: 80 }, (_, r) => (r < rows ? roundToF16(random.uniform()) : 0));
    const weights = dequantizeLinear(
      {
        ...packPlanes(codes, bits, rows, cols),
        palette4: f32ArrayToF16(palettes[4].flat()),
        palette3: f32ArrayToF16(palettes[3].flat()),
        palette2: f32ArrayToF16(palettes[2].flat()),
        rowScale: f32ArrayToF16(scales),
      },
      rows,
      cols,
    );
    const nth = widths.map((width, block) => widths.slice(0, block).filter((w) => w === width).length);
    for (let i = 0; i < rows * cols; i++) {
      const row = Math.floor(i / cols);
      const block = row >> 4;
      expect(weights[i]).toBe(Math.fround(palettes[widths[block]][nth[block]][codes[i]] * scales[row]));
    }
  });

  it("kept columns add to what their codes stand for", () => {
    const [rows, cols] = [18, 66];
    const random = makeRandom(12);
    const linear = {
      ...packPlanes(
        Uint8Array.from({ length: rows * cols }, () => random.below(4)),
        Uint8Array.of(2, 2),
        rows,
        cols,
      ),
      palette2: f32ArrayToF16(random.normals(8)),
      rowScale: new Uint16Array(32).fill(0x3c00),
    };
    const index = Uint32Array.of(3, 65);
    const added = random.normals(2 * rows).map(roundToF16);
    const plain = dequantizeLinear(linear, rows, cols);
    const weights = dequantizeLinear({ ...linear, kept: { index, values: f32ArrayToF16(added) } }, rows, cols);
    weights.forEach((weight, i) => {
      const j = index.indexOf(i % cols);
      expect(weight).toBe(j < 0 ? plain[i] : Math.fround(plain[i] + added[2 * Math.floor(i / cols) + j]));
    });
  });

  it.each([
    ["a kept column outside", { kept: { index: Uint32Array.of(64), values: new Uint16Array(16) } }],
    ["too few kept values", { kept: { index: Uint32Array.of(6), values: new Uint16Array(15) } }],
    ["a width outside 2..4", { bits: Uint8Array.of(5) }],
    ["too few blocks", { bits: new Uint8Array(0) }],
    ["a short plane0", { plane0: new Uint32Array(63) }],
    ["a missing plane1", { plane1: undefined }],
    ["a missing palette", { palette4: undefined }],
    ["a short row_scale", { rowScale: new Uint16Array(15) }],
  ])("refuses %s", (_, change) => {
    const linear = {
      ...packPlanes(new Uint8Array(16 * 64), Uint8Array.of(4), 16, 64),
      palette4: new Uint16Array(16),
      rowScale: new Uint16Array(16),
    };
    expect(() => dequantizeLinear(linear, 16, 64)).not.toThrow();
    expect(() => dequantizeLinear({ ...linear, ...change }, 16, 64)).toThrow(OchreError);
  });
});
