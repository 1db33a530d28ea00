import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulDense } from "../../kernels/matmul-dense";
import { matmulDense as twin } from "../../kernels/reference/matmul-dense";
import type { Gpu } from "../../runtime/gpu/device";
import { denseMatrix } from "./dense-fixture";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a last tile with one token and one quad of rows: everything beyond must neither be read into nor written. */
const CASES = [
  { name: "one token, four rows", T: 1, rows: 4, cols: 64, rowMultiple: 4 },
  { name: "a full tile", T: 64, rows: 64, cols: 128, scaled: true },
  { name: "65 tokens, 68 rows", T: 65, rows: 68, cols: 320, add: true, rowMultiple: 4 },
  { name: "63 tokens, sample's o_proj", T: 63, rows: 576, cols: 576, add: true },
  { name: "rows not a multiple of 16, cols not of 64", T: 20, rows: 52, cols: 176, scaled: true, add: true },
];

/** One tile width, f32 whatever the device offers: the gate is that of f32 with shader-f16 too. */
describe("matmul-dense", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, rows, cols, scaled, add, ...padding }) => {
    const { weights, matrix } = denseMatrix(gpu, rows, cols, padding);
    const x = normals(T * cols, 2);
    const scale = normals(T, 3);
    const yStride = matrix.rows + 48;
    const residual = padRows(normals(T * rows, 4), T, rows, yStride);
    // Rows of the tile beyond T hold a canary that must survive, and inputs that must not be read.
    const before = new Float32Array((T + 8) * yStride).fill(7);
    if (add) before.set(residual);
    const y = gpu.upload("y", before, READABLE);
    const padded = new Float32Array((T + 8) * matrix.cols).fill(Number.NaN);
    padded.set(padRows(x, T, cols, matrix.cols));
    await runOnce(gpu, (recorder) =>
      matmulDense(recorder, {
        matrix,
        x: gpu.upload("x", padded),
        xStride: matrix.cols,
        y,
        yStride,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale),
        scaled,
        add,
        tokens: T + 8,
      }),
    );
    const all = await readFloats(gpu, y);
    const flat = (values: Float32Array) => values.filter((_, i) => i < T * yStride && i % yStride < rows);
    const expected = twin({ weights, x, cols, scale: scaled ? scale : undefined, residual: add ? flat(residual) : undefined });
    expect(nmse(flat(all), expected)).toBeLessThan(1e-10);
    expect(new Set(all.subarray(T * yStride))).toEqual(new Set([7]));
  });
});
