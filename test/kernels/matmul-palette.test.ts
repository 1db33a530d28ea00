import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulPalette } from "../../kernels/matmul-palette";
import { matmulPalette as twin } from "../../kernels/reference/matmul-palette";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { MATMUL_TIERS, nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a last tile with one token and one block: everything beyond must neither be read into nor written. */
const CASES = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "a full tile", T: 64, rows: 64, cols: 128, bits: [4], scaled: true },
  { name: "65 tokens, 80 rows, mixed bits", T: 65, rows: 80, cols: 320, bits: [4, 2, 3], add: true },
  { name: "63 tokens, sample's o_proj", T: 63, rows: 576, cols: 576, bits: [4], add: true },
  { name: "8 columns kept", T: 70, rows: 80, cols: 320, bits: [4, 2, 3], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", T: 9, rows: 52, cols: 176, bits: [4, 3], kept: 5 },
  { name: "every code 15", T: 9, rows: 32, cols: 192, bits: [4, 3, 2], codes: "ones" as const },
  { name: "rows not a multiple of 16, cols not of 64", T: 20, rows: 52, cols: 176, bits: [3, 4], scaled: true },
];

describe.each(MATMUL_TIERS)("matmul-palette, $name", ({ options, gate }) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, scaled, add, ...shape }) => {
    const matrix = paletteMatrix(shape, 1);
    const x = normals(T * shape.cols, 2);
    const scale = normals(T, 3);
    const weights = uploadMatrices(gpu, [matrix]);
    const yStride = weights.rows + 48;
    const residual = normals(T * yStride, 4);
    // Rows of the tile beyond T hold a canary that must survive, and inputs that must not be read.
    const y = gpu.upload(
      "y",
      Float32Array.from({ length: (T + 8) * yStride }, (_, i) => (add && i < T * yStride ? residual[i] : 7)),
      READABLE,
    );
    const padded = new Float32Array((T + 8) * weights.cols).fill(Number.NaN);
    padded.set(padRows(x, T, shape.cols, weights.cols));
    await runOnce(gpu, (recorder) =>
      matmulPalette(recorder, {
        weights,
        x: gpu.upload("x", padded),
        xStride: weights.cols,
        y,
        yStride,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale),
        scaled,
        add,
        tokens: T + 8,
      }),
    );
    const flatResidual = new Float32Array(T * shape.rows);
    for (let t = 0; t < T; t++) flatResidual.set(residual.subarray(t * yStride, t * yStride + shape.rows), t * shape.rows);
    const expected = twin({ matrix, x, scale: scaled ? scale : undefined, residual: add ? flatResidual : undefined });
    const all = await readFloats(gpu, y);
    const actual = new Float32Array(T * shape.rows);
    for (let t = 0; t < T; t++) actual.set(all.subarray(t * yStride, t * yStride + shape.rows), t * shape.rows);
    expect(nmse(actual, expected)).toBeLessThan(gate);
    expect(new Set(all.subarray(T * yStride))).toEqual(new Set([7]));
  });
});
