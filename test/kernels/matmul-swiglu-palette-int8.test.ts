import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulSwigluPaletteInt8 } from "../../kernels/matmul-swiglu-palette-int8";
import { int8Row } from "../../kernels/reference/int8-row";
import { matmulSwigluPaletteInt8 as twin } from "../../kernels/reference/matmul-swiglu-palette-int8";
import { uploadRows } from "../../runtime/engine/self-test/int8";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is 11 blocks (tiny checkpoints' 176 rows): a tile of 32 gate rows that ends in mid-tile. */
const CASES = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "11 blocks, 70 tokens", T: 70, rows: 176, cols: 64, bits: [4, 3] },
  { name: "sample's width, mixed bits", T: 33, rows: 96, cols: 576, bits: [4, 2, 3] },
];

describe("matmul-swiglu-palette-int8", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, ...shape }) => {
    const [gate, up] = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const values = normals(T * shape.cols, 3);
    const rows = Array.from({ length: T }, (_, t) => int8Row(values.subarray(t * shape.cols, (t + 1) * shape.cols)));
    const scale = normals(T, 4, 0.2);
    const y = gpu.buffer("y", 4 * T * shape.rows, READABLE);
    await runOnce(gpu, (recorder) =>
      matmulSwigluPaletteInt8(recorder, {
        weights: uploadMatrices(gpu, [gate, up]),
        x8: uploadRows(gpu, rows),
        y,
        yStride: shape.rows,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale),
        tokens: T,
      }),
    );
    expect(nmse(await readFloats(gpu, y), twin({ gate, up, x: rows, scale }))).toBeLessThan(1e-10);
  });
});
