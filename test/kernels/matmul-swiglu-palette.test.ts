import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulSwigluPalette } from "../../kernels/matmul-swiglu-palette";
import { matmulSwigluPalette as twin } from "../../kernels/reference/matmul-swiglu-palette";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { MATMUL_TIERS, nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is 11 blocks (tiny checkpoints' 176 rows): a tile of 32 gate rows that ends in mid-tile. */
const CASES = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "11 blocks, 70 tokens", T: 70, rows: 176, cols: 64, bits: [4, 3] },
  { name: "sample's width, mixed bits", T: 33, rows: 96, cols: 576, bits: [4, 2, 3] },
];

describe.each(MATMUL_TIERS)("matmul-swiglu-palette, $name", ({ options, gate }) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, ...shape }) => {
    const gates = paletteMatrix(shape, 1);
    const ups = paletteMatrix(shape, 2);
    const x = normals(T * shape.cols, 3);
    const scale = normals(T, 4, 0.2);
    const weights = uploadMatrices(gpu, [gates, ups]);
    const y = gpu.buffer("y", 4 * T * shape.rows, READABLE);
    await runOnce(gpu, (recorder) =>
      matmulSwigluPalette(recorder, {
        weights,
        x: gpu.upload("x", padRows(x, T, shape.cols, weights.cols)),
        xStride: weights.cols,
        y,
        yStride: shape.rows,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale),
        tokens: T,
      }),
    );
    expect(nmse(await readFloats(gpu, y), twin({ gate: gates, up: ups, x, scale }))).toBeLessThan(gate);
  });
});
