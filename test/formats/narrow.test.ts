import { describe, expect, it } from "vitest";
import { f16ArrayToF32, f32ArrayToF16 } from "../../runtime/formats/f16";
import {
  BlockPalettes,
  estimateUsage,
  narrowingError,
  narrowLinear,
  narrowPalette,
  narrowPalettes,
} from "../../runtime/formats/narrow";
import { dequantizeLinear, type PalettizedLinear, unpackCodes } from "../../runtime/formats/palettized-linear";

const halves = (...values: number[]) => f32ArrayToF16(values);
const sixteen = halves(-8, -6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 5, 9);

/** Blocks of 4, 3 and 2 bits; bits of the codes from a fixed pattern. */
function mixed(elastic: boolean): PalettizedLinear {
  const eight = halves(-4, -3, -2, -1, 1, 2, 3, 4);
  const four = halves(-2, -1, 1, 2);
  const words = (n: number, seed: number) => Uint32Array.from({ length: n }, (_, i) => Math.imul(i + seed, 2654435761) >>> 0);
  return {
    bits: Uint8Array.of(4, 3, 2),
    plane0: words(48 * 4, 1),
    plane1: words(32 * 2, 2),
    plane2: words(16 * 2, 3),
    palette4: sixteen,
    palette3: elastic ? halves(-7, -5, -3, -1, 1, 3, 5, 7, ...f16ArrayToF32(eight)) : eight,
    palette2: elastic ? halves(-6, -2, 2, 6, -3, -1, 1, 3, ...f16ArrayToF32(four)) : four,
    rowScale: f32ArrayToF16(Array(48).fill(1)),
  };
}

describe("estimateUsage", () => {
  it("sums to 1, and is the larger the closer entries stand", () => {
    const usage = estimateUsage(f16ArrayToF32(sixteen));
    expect(usage.reduce((sum, value) => sum + value)).toBeCloseTo(1, 12);
    expect(usage[8]).toBeGreaterThan(usage[13]);
    expect(usage[13]).toBeGreaterThan(usage[15]);
    expect(usage[8] / usage[12]).toBeCloseTo((1 / 0.5) ** 2 * (0.75 / 1) ** 2, 10);
  });

  it("is finite where entries coincide, or all are one", () => {
    expect(estimateUsage([0, 0, 0, 0])).toEqual(Float64Array.of(0.25, 0.25, 0.25, 0.25));
    expect(estimateUsage([-1, -1, -1, 1]).every((value) => value > 0 && value < 1)).toBe(true);
  });
});

describe("narrowPalette", () => {
  it("gives means of pairs and quartets, sorted and between their ends", () => {
    for (const width of [3, 2]) {
      const group = 16 >> width;
      const narrow = f16ArrayToF32(narrowPalette(sixteen, width));
      expect(narrow).toHaveLength(1 << width);
      const entries = f16ArrayToF32(sixteen);
      narrow.forEach((entry, i) => {
        expect(entry).toBeGreaterThanOrEqual(entries[i * group]);
        expect(entry).toBeLessThanOrEqual(entries[(i + 1) * group - 1]);
      });
    }
    // Entries -4 and -3: gaps of 1.5 and 1, so that the second counts 2.25 times as much.
    expect(f16ArrayToF32(narrowPalette(sixteen, 3))[1]).toBeCloseTo((-4 - 3 * 2.25) / 3.25, 2);
  });

  it("costs nothing where pairs are one entry, and the more the fewer bits there are", () => {
    const pairs = halves(...[-4, -3, -2, -1, 1, 2, 3, 4].flatMap((entry) => [entry, entry]));
    expect(narrowingError(pairs, 3)).toBeCloseTo(0, 12);
    expect(narrowingError(sixteen, 3)).toBeGreaterThan(0);
    expect(narrowingError(sixteen, 2)).toBeGreaterThan(2 * narrowingError(sixteen, 3));
  });
});

describe("BlockPalettes", () => {
  it("makes what is not stored", () => {
    const palettes = new BlockPalettes(mixed(false));
    expect(palettes.at(0, 4)).toEqual(sixteen);
    expect(palettes.stored(0, 3)).toBeUndefined();
    expect(palettes.at(0, 3)).toEqual(narrowPalette(sixteen, 3));
    expect(palettes.at(1, 3)[0]).toBe(f32ArrayToF16([-4])[0]);
  });

  it("takes what an elastic model stores", () => {
    const palettes = new BlockPalettes(mixed(true));
    expect(palettes.at(0, 3)).toEqual(halves(-7, -5, -3, -1, 1, 3, 5, 7));
    expect(palettes.at(0, 2)).toEqual(halves(-6, -2, 2, 6));
    expect(palettes.at(1, 2)).toEqual(halves(-3, -1, 1, 3));
    expect(palettes.at(2, 2)).toEqual(halves(-2, -1, 1, 2));
  });
});

describe.each([false, true])("narrowLinear, elastic %s", (elastic) => {
  it("leaves the upper bits of every code, over the palettes of their width", () => {
    const linear = mixed(elastic);
    const palettes = new BlockPalettes(linear);
    const codes = unpackCodes(linear, 48, 64);
    for (const bits of [Uint8Array.of(3, 2, 2), Uint8Array.of(2, 3, 2), Uint8Array.of(2, 2, 2), linear.bits]) {
      const weights = dequantizeLinear(narrowLinear(linear, bits, 64), 48, 64);
      weights.forEach((weight, i) => {
        const block = Math.floor(i / (16 * 64));
        const code = codes[i] >> (linear.bits[block] - bits[block]);
        expect(weight).toBe(f16ArrayToF32(palettes.at(block, bits[block]))[code]);
      });
    }
  });

  it("has tables without rows for other widths", () => {
    const { palette4, palette3, palette2 } = narrowPalettes(mixed(elastic), Uint8Array.of(3, 3, 2));
    expect([palette4?.length, palette3?.length, palette2?.length]).toEqual([undefined, 16, 4]);
  });
});
