import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecSwigluPaletteInt8 } from "../../kernels/matvec-swiglu-palette-int8";
import { int8Row } from "../../kernels/reference/int8-row";
import { matvecSwigluPaletteInt8 as twin } from "../../kernels/reference/matvec-swiglu-palette-int8";
import { quantized, roomForRows, rowValues, uploadRows } from "../../runtime/engine/self-test/int8";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import { f32ToF16 } from "../../runtime/formats/f16";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, readBytes, runOnce, stepState, testGpu } from "./harness";

/** The worst case is gates of both signs, so large that exp overflows. */
const CASES = [
  { name: "one block each", rows: 16, cols: 64, spread: 1 },
  { name: "tiny model's 11 blocks", rows: 176, cols: 64, spread: 1 },
  { name: "2 to 4 bits, gates of both signs in the hundreds", rows: 208, cols: 576, spread: 300 },
];

describe.each([["subgroups"], []] as const)("matvec-swiglu-palette-int8, without %s", (...disable) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ disable });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ rows, cols, spread }) => {
    const shape = { rows, cols, bits: [4, 2, 3] };
    const [gate, up] = [1, 2].map((seed) => paletteMatrix(shape, seed));
    // In the row scales, since the norm takes out what multiplies x.
    gate.rowScale.fill(f32ToF16(spread));
    const x = int8Row(normals(cols, 3));
    const y8Cols = 64 * Math.ceil(rows / 64);
    const y8 = roomForRows(gpu, y8Cols);
    await runOnce(gpu, (recorder) =>
      matvecSwigluPaletteInt8(recorder, {
        weights: uploadMatrices(gpu, [gate, up]),
        x8: uploadRows(gpu, [x]),
        state: stepState(gpu, {}),
        y8,
        y8Cols,
        norm: { eps: 1e-5, cols },
        tokens: 1,
      }),
    );
    const expected = quantized(twin({ gate, up, x, normEps: 1e-5 }));
    expect(nmse(rowValues(await readBytes(gpu, y8), y8Cols), expected)).toBeLessThan(1e-5);
  });
});
