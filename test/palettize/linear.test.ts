import { describe, expect, it } from "vitest";
import { f16ArrayToF32, roundToF16 } from "../../runtime/formats/f16";
import { dequantizeLinear, unpackCodes } from "../../runtime/formats/palettized-linear";
import { bordersOf, nearestCode } from "../../runtime/palettize/feedback";
import { palettizeLinear } from "../../runtime/palettize/linear";
import { makeRandom } from "./random";

function compile(weight: Float32Array, rows: number, cols: number, bits = [4]) {
  const widths = Uint8Array.from({ length: Math.ceil(rows / 16) }, (_, block) => bits[block % bits.length]);
  const result = palettizeLinear(weight.slice(), widths, rows, cols);
  const restored = dequantizeLinear(result.linear, rows, cols);
  const squaredError = weight.reduce((sum, value, i) => sum + (value - restored[i]) ** 2, 0);
  return { ...result, restored, actual: squaredError, relativeError: Math.sqrt(squaredError / result.squaredNorm) };
}

describe("palettizeLinear", () => {
  // The error of the best quantizer of a normal variable (Max, 1960): 0.0095, 0.0345 and 0.1175 of its variance.
  it.each([
    [4, 0.0095],
    [3, 0.0345],
    [2, 0.1175],
  ])("normal weights at %i bits come close to the least error there is, %f", (bits, least) => {
    const { relativeError } = compile(makeRandom(bits).normals(64 * 512), 64, 512, [bits]);
    expect(relativeError ** 2).toBeGreaterThan(0.95 * least);
    expect(relativeError ** 2).toBeLessThan(1.06 * least);
  });

  it("reports the error that its tensors really have", () => {
    const { squaredError, actual, squaredNorm } = compile(makeRandom(1).normals(50 * 70), 50, 70, [4, 2, 3]);
    expect(squaredError / actual).toBeCloseTo(1, 4);
    expect(squaredNorm).toBeCloseTo(
      makeRandom(1)
        .normals(50 * 70)
        .reduce((sum, x) => sum + x * x, 0),
      3,
    );
  });

  it("row scales are the rows' RMS in f16; rows of padding have none", () => {
    const weight = makeRandom(2).normals(18 * 64);
    const scales = f16ArrayToF32(compile(weight, 18, 64).linear.rowScale);
    expect(scales.length).toBe(32);
    for (let r = 0; r < 32; r++) {
      const row = weight.subarray(r * 64, (r + 1) * 64);
      expect(scales[r]).toBe(r < 18 ? roundToF16(Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / 64)) : 0);
    }
  });

  it("rows of very different size are each as exact as the others", () => {
    const weight = makeRandom(3).normals(16 * 256);
    const sized = weight.map((x, i) => x * 2 ** (Math.floor(i / 256) - 8));
    const { restored } = compile(sized, 16, 256);
    for (let r = 0; r < 16; r++) {
      let error = 0;
      let norm = 0;
      for (let i = r * 256; i < (r + 1) * 256; i++) {
        error += (sized[i] - restored[i]) ** 2;
        norm += sized[i] ** 2;
      }
      expect(error / norm).toBeLessThan(0.03);
    }
  });

  it("one giant outlier stays, and costs the other rows nothing", () => {
    const weight = makeRandom(4).normals(16 * 512);
    weight[700] = 5000;
    const { restored } = compile(weight, 16, 512);
    expect(restored[700] / 5000).toBeCloseTo(1, 2);
    let error = 0;
    for (let i = 0; i < weight.length; i++) if (i >> 9 !== 1) error += (weight[i] - restored[i]) ** 2;
    expect(error / (15 * 512)).toBeLessThan(0.03);
  });

  it.each([
    ["zeros", () => 0],
    ["one constant", () => -0.3],
    ["two values", (i: number) => (i % 3 ? 0.5 : -2)],
    ["one value that is not zero", (i: number) => (i === 5 ? 7 : 0)],
    ["zeros but for one row", (i: number) => (i < 64 ? i - 30 : 0)],
    ["values too small for f16", (i: number) => 1e-12 * (i % 7)],
    ["values too large for f16", (i: number) => 3e6 * ((i % 5) - 2)],
  ])("a block of %s is finite, with codes in range", (_, value) => {
    const weight = Float32Array.from({ length: 16 * 64 }, (_, i) => value(i));
    const { restored, linear, actual } = compile(weight, 16, 64);
    expect(restored.every(Number.isFinite)).toBe(true);
    expect(unpackCodes(linear, 16, 64).every((code) => code < 16)).toBe(true);
    const norm = weight.reduce((sum, x) => sum + x * x, 0);
    expect(actual).toBeLessThanOrEqual(norm < 1e-15 ? norm : 0.01 * norm);
  });

  it("codes are made for the width of their block", () => {
    const { linear } = compile(makeRandom(5).normals(48 * 64), 48, 64, [2, 3, 4]);
    const codes = unpackCodes(linear, 48, 64);
    expect([0, 1, 2].map((block) => Math.max(...codes.subarray(block * 1024, (block + 1) * 1024)))).toEqual([3, 7, 15]);
    expect([linear.palette2, linear.palette3, linear.palette4].map((palette) => palette?.length)).toEqual([4, 8, 16]);
  });
});

describe("nearestCode", () => {
  it.each([4, 8, 16])("finds the nearest of %i entries, the lower of two", (entries) => {
    const random = makeRandom(entries);
    const palette = random.normals(entries).sort();
    const borders = bordersOf(palette);
    for (const value of [...random.normals(500), ...palette, -100, 100]) {
      const distances = Array.from(palette, (entry) => Math.abs(value - entry));
      expect(distances[nearestCode(value, borders)]).toBeCloseTo(Math.min(...distances), 6);
    }
    expect(nearestCode(borders[1], borders)).toBe(1);
  });
});
