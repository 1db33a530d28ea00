import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulInt8 } from "../../kernels/matmul-int8";
import { type Int8Matrix, int8Matrix } from "../../kernels/reference/expand-int8";
import { matmulInt8 as twin } from "../../kernels/reference/matmul-int8";
import { uploadInt8 } from "../../runtime/engine/self-test/int8";
import { type PaletteCase, paletteMatrix } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, random, readFloats, runOnce, SHARING, stepState, testGpu } from "./harness";

/** The worst case is a last group with one token and one block: everything beyond must neither be read into nor written. */
const CASES: (PaletteCase & { name: string; T: number; scaled?: boolean; add?: boolean; outlier?: number })[] = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "whole groups of tokens and blocks", T: 64, rows: 64, cols: 128, bits: [4], scaled: true },
  { name: "65 tokens, 80 rows, mixed bits", T: 65, rows: 80, cols: 320, bits: [4, 2, 3], add: true },
  { name: "9 tokens, sample's o_proj", T: 9, rows: 576, cols: 576, bits: [4], add: true },
  { name: "8 columns kept", T: 37, rows: 80, cols: 320, bits: [4, 2, 3], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", T: 9, rows: 52, cols: 176, bits: [4, 3], kept: 5 },
  { name: "an outlier of 24,289", T: 11, rows: 48, cols: 192, bits: [4, 3, 2], scaled: true, outlier: 24289 },
  { name: "rows not a multiple of 16, cols not of 64", T: 20, rows: 52, cols: 176, bits: [3, 4], scaled: true, add: true },
];

describe.each(Object.entries(SHARING))("matmul-int8, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  /** y [T, rows]; its rows beyond T are checked to keep their canary, and x beyond T is not a number. */
  async function run(
    matrix: Int8Matrix,
    x: Float32Array,
    { scale, residual }: { scale?: Float32Array; residual?: Float32Array } = {},
  ): Promise<Float32Array> {
    const { rows, cols } = matrix;
    const T = x.length / cols;
    const weights = uploadInt8(gpu, [matrix]);
    const yStride = weights.rows + 48;
    const before = new Float32Array((T + 8) * yStride).fill(7);
    if (residual) before.set(padRows(residual, T, rows, yStride));
    const padded = new Float32Array((T + 8) * weights.cols).fill(Number.NaN);
    padded.set(padRows(x, T, cols, weights.cols));
    const y = gpu.upload("y", before, READABLE);
    await runOnce(gpu, (recorder) =>
      matmulInt8(recorder, {
        weights,
        x: gpu.upload("x", padded),
        xStride: weights.cols,
        y,
        yStride,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale ?? new Float32Array(T)),
        scaled: scale !== undefined,
        add: residual !== undefined,
        tokens: T + 8,
      }),
    );
    const all = await readFloats(gpu, y);
    expect(new Set(all.subarray(T * yStride))).toEqual(new Set([7]));
    return all.filter((_, i) => i < T * yStride && i % yStride < rows);
  }

  it.each(CASES)("$name", async ({ T, scaled, add, outlier, ...shape }) => {
    const matrix = int8Matrix(paletteMatrix(shape, 1));
    const x = normals(T * shape.cols, 2);
    if (outlier) x[5] = outlier;
    const scale = scaled ? normals(T, 3) : undefined;
    const residual = add ? normals(T * shape.rows, 4) : undefined;
    expect(nmse(await run(matrix, x, { scale, residual }), twin({ matrix, x, scale, residual }))).toBeLessThan(1e-10);
  });

  /** Every code in every byte, both signs, against whole numbers: sums stay below 2^24, so f32 holds them all. */
  it("takes codes out of their words exactly", async () => {
    const [T, rows, cols] = [10, 32, 512];
    const uniform = random(1);
    const codes = Int8Array.from({ length: rows * cols }, (_, i) =>
      i < 1020 ? (i >> 2) - 127 : Math.floor(255 * uniform()) - 127,
    );
    const matrix = { rows, cols, codes, scales: new Float64Array(rows).fill(1) };
    const x = Float32Array.from({ length: T * cols }, () => Math.floor(255 * uniform()) - 127);
    expect([...(await run(matrix, x))]).toEqual([...twin({ matrix, x })]);
  });
});
