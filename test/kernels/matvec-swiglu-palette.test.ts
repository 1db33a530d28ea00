import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecSwigluPalette } from "../../kernels/matvec-swiglu-palette";
import { matvecSwigluPalette as twin } from "../../kernels/reference/matvec-swiglu-palette";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

/** The worst case is a gate far below zero, whose exponential overflows unless it is clamped. */
const CASES = [
  { name: "one block each", rows: 16, cols: 64, bits: [4], scale: 1 },
  { name: "sample's width, mixed bits", rows: 208, cols: 576, bits: [4, 2, 3], scale: 1 },
  { name: "11 blocks: not a multiple of the software mapping's 4", rows: 176, cols: 64, bits: [4], scale: 1 },
  { name: "gates of hundreds, both signs", rows: 64, cols: 128, bits: [4], scale: 100 },
];

describe.each(Object.entries(TIERS))("matvec-swiglu-palette, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ scale, ...shape }) => {
    const gate = paletteMatrix(shape, 1);
    const up = paletteMatrix(shape, 2);
    for (let i = 0; i < gate.rowScale.length; i++) gate.rowScale[i] = scale > 1 ? 0x5640 /* 100 */ : gate.rowScale[i];
    const x = normals(shape.cols, 3, 7);
    const eps = 1e-5;
    const weights = uploadMatrices(gpu, [gate, up]);
    const y = gpu.buffer("y", 2 * weights.rows, READABLE);
    await runOnce(gpu, (recorder) =>
      matvecSwigluPalette(recorder, {
        weights,
        x: gpu.upload("x", padRows(x, 1, shape.cols, weights.cols)),
        state: stepState(gpu, {}),
        y,
        norm: { eps, cols: shape.cols },
      }),
    );
    expect(nmse(await readFloats(gpu, y), twin({ gate, up, x, normEps: eps }))).toBeLessThan(1e-10);
  });
});
