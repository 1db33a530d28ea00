import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulSwigluInt8 } from "../../kernels/matmul-swiglu-int8";
import { int8Matrix } from "../../kernels/reference/expand-int8";
import { matmulSwigluInt8 as twin } from "../../kernels/reference/matmul-swiglu-int8";
import { uploadInt8 } from "../../runtime/engine/self-test/int8";
import { paletteMatrix } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, SHARING, stepState, testGpu } from "./harness";

/** The worst case is 11 blocks (tiny checkpoints' 176 rows): workgroups of 32 gate rows, the last of which has only 16. */
const CASES = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "11 blocks, 70 tokens", T: 70, rows: 176, cols: 64, bits: [4, 3] },
  { name: "sample's width, mixed bits", T: 33, rows: 96, cols: 576, bits: [4, 2, 3] },
];

describe.each(Object.entries(SHARING))("matmul-swiglu-int8, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, ...shape }) => {
    const [gate, up] = [int8Matrix(paletteMatrix(shape, 1)), int8Matrix(paletteMatrix(shape, 2))];
    const x = normals(T * shape.cols, 3);
    const scale = normals(T, 4, 0.2);
    const weights = uploadInt8(gpu, [gate, up]);
    const y = gpu.upload("y", new Float32Array((T + 8) * shape.rows).fill(7), READABLE);
    const padded = new Float32Array((T + 8) * weights.cols).fill(Number.NaN);
    padded.set(padRows(x, T, shape.cols, weights.cols));
    await runOnce(gpu, (recorder) =>
      matmulSwigluInt8(recorder, {
        weights,
        x: gpu.upload("x", padded),
        xStride: weights.cols,
        y,
        yStride: shape.rows,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale),
        tokens: T + 8,
      }),
    );
    const all = await readFloats(gpu, y);
    expect(nmse(all.subarray(0, T * shape.rows), twin({ gate, up, x, scale }))).toBeLessThan(1e-10);
    expect(new Set(all.subarray(T * shape.rows))).toEqual(new Set([7]));
  });
});
