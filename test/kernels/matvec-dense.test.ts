import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecDense } from "../../kernels/matvec-dense";
import { matvecDense as twin } from "../../kernels/reference/matvec-dense";
import type { Gpu } from "../../runtime/gpu/device";
import { denseMatrix } from "./dense-fixture";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

/** The worst case is a width with fewer steps than lanes, and a vocabulary that no workgroup divides. */
const CASES = [
  { name: "four rows of four columns", rows: 4, cols: 4, rowMultiple: 4, colMultiple: 4 },
  { name: "a head: prime vocabulary, width not padded", rows: 257, cols: 80, rowMultiple: 4, colMultiple: 16 },
  { name: "sample's o_proj", rows: 576, cols: 576, add: true },
  { name: "rows not a multiple of 16, cols not of 64", rows: 52, cols: 176, norm: true },
  { name: "an outlier of 24,289 under a norm", rows: 96, cols: 576, norm: true, outlier: 24289 },
  { name: "down_proj's width, norm and residual", rows: 64, cols: 1536, norm: true, add: true },
];

describe.each(Object.entries(TIERS))("matvec-dense, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ rows, cols, norm, add, outlier, ...padding }) => {
    const { weights, matrix } = denseMatrix(gpu, rows, cols, padding);
    const x = normals(cols, 2);
    if (outlier) x[5] = outlier;
    const residual = normals(rows, 3);
    // Rows beyond the matrix hold a canary that must survive.
    const y = gpu.upload("y", new Float32Array(matrix.rows + 64).fill(7), READABLE);
    gpu.write(y, 0, residual);
    const eps = 1e-5;
    await runOnce(gpu, (recorder) =>
      matvecDense(recorder, {
        matrix,
        x: gpu.upload("x", padRows(x, 1, cols, matrix.cols)),
        state: stepState(gpu, {}),
        y,
        norm: norm ? { eps, cols } : undefined,
        add,
      }),
    );
    const expected = twin({ weights, x, normEps: norm ? eps : undefined, residual: add ? residual : undefined });
    const actual = await readFloats(gpu, y);
    expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expect(new Set(actual.subarray(matrix.rows))).toEqual(new Set([7]));
  });
});
