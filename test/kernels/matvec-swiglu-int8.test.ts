import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecSwigluInt8 } from "../../kernels/matvec-swiglu-int8";
import { int8Matrix } from "../../kernels/reference/expand-int8";
import { int8Row } from "../../kernels/reference/int8-row";
import { matvecSwigluInt8 as twin } from "../../kernels/reference/matvec-swiglu-int8";
import { quantized, roomForRows, rowValues, uploadInt8, uploadRows } from "../../runtime/engine/self-test/int8";
import { paletteMatrix } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, readBytes, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a gate so negative that exp overflows. */
const CASES = [
  { name: "one block each", rows: 16, cols: 64, spread: 1 },
  { name: "tiny model's 11 blocks", rows: 176, cols: 64, spread: 1 },
  { name: "2 to 4 bits, gates of both signs in the hundreds", rows: 208, cols: 576, spread: 300 },
];

describe("matvec-swiglu-int8", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ rows, cols, spread }) => {
    const shape = { rows, cols, bits: [4, 2, 3] };
    const [gate, up] = [1, 2].map((seed) => int8Matrix(paletteMatrix(shape, seed)));
    // Multiplying the palette, since the norm takes out what multiplies x.
    gate.scales.forEach((scale, r) => {
      gate.scales[r] = scale * spread;
    });
    const x = int8Row(normals(cols, 3));
    const y8Cols = 64 * Math.ceil(rows / 64);
    const y8 = roomForRows(gpu, y8Cols);
    await runOnce(gpu, (recorder) =>
      matvecSwigluInt8(recorder, {
        weights: uploadInt8(gpu, [gate, up]),
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
