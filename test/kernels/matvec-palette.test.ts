import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecPalette } from "../../kernels/matvec-palette";
import { matvecPalette as twin } from "../../kernels/reference/matvec-palette";
import { type PaletteCase, paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

/** The worst case is the last bit of the last plane: code 15 in every column (a shift by one too many loses bit 31). */
const CASES: (PaletteCase & { name: string; norm?: boolean; add?: boolean; outlier?: number })[] = [
  { name: "one block", rows: 16, cols: 64, bits: [4] },
  { name: "sample's o_proj", rows: 576, cols: 576, bits: [4], add: true },
  { name: "2, 3 and 4 bits by block", rows: 112, cols: 320, bits: [4, 2, 3, 3], norm: true },
  { name: "2 bits only", rows: 48, cols: 128, bits: [2] },
  { name: "3 bits only", rows: 48, cols: 128, bits: [3] },
  { name: "rows not a multiple of 16, cols not of 64", rows: 52, cols: 176, bits: [4, 3], norm: true },
  { name: "every code 15", rows: 32, cols: 192, bits: [4, 3, 2], codes: "ones" },
  { name: "every code 0", rows: 32, cols: 192, bits: [4, 3, 2], codes: "zeros" },
  { name: "an outlier of 24,289 under a norm", rows: 96, cols: 576, bits: [4], norm: true, outlier: 24289 },
  { name: "down_proj's width", rows: 64, cols: 1536, bits: [4, 2], add: true },
  { name: "8 columns kept", rows: 64, cols: 1536, bits: [4, 2], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", rows: 52, cols: 176, bits: [4, 3], kept: 5 },
];

describe.each(Object.entries(TIERS))("matvec-palette, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ norm, add, outlier, ...shape }) => {
    const matrix = paletteMatrix(shape, 1);
    const x = normals(shape.cols, 2);
    if (outlier) x[5] = outlier;
    const residual = normals(shape.rows, 3);
    const weights = uploadMatrices(gpu, [matrix]);
    const y = gpu.buffer("y", 4 * weights.rows, READABLE);
    if (add) gpu.write(y, 0, residual);
    const eps = 1e-5;
    await runOnce(gpu, (recorder) =>
      matvecPalette(recorder, {
        weights,
        x: gpu.upload("x", padRows(x, 1, shape.cols, weights.cols)),
        state: stepState(gpu, {}),
        y,
        norm: norm ? { eps, cols: shape.cols } : undefined,
        add,
      }),
    );
    const expected = twin({ matrix, x, normEps: norm ? eps : undefined, residual: add ? residual : undefined });
    expect(nmse(await readFloats(gpu, y), expected)).toBeLessThan(1e-10);
  });
});
