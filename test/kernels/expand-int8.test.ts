import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expandInt8 } from "../../kernels/expand-int8";
import { int8Matrix } from "../../kernels/reference/expand-int8";
import { packKept } from "../../runtime/engine/pack-blocks";
import { int8Codes, int8Scales, uploadInt8 } from "../../runtime/engine/self-test/int8";
import { type PaletteCase, paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, READABLE, readBytes, readFloats, runOnce, testGpu } from "./harness";

/** The worst case is the last bit of the last plane, and a block whose palette is not the first of its width. */
const CASES: (PaletteCase & { name: string })[] = [
  { name: "one block", rows: 16, cols: 64, bits: [4] },
  { name: "2, 3 and 4 bits by block", rows: 112, cols: 320, bits: [4, 2, 3, 3] },
  { name: "rows not a multiple of 16, cols not of 64", rows: 52, cols: 176, bits: [4, 3] },
  { name: "every code 15", rows: 48, cols: 192, bits: [4, 3, 2], codes: "ones" },
];

describe("expand-int8", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async (shape) => {
    const matrices = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const palettes = uploadMatrices(gpu, matrices, false);
    const { rows, cols } = palettes;
    const codes = gpu.buffer("codes", rows * cols, READABLE);
    const scales = gpu.buffer("scales", 4 * rows, READABLE);
    const weights = { rows, cols, codes, scales, bytes: rows * (cols + 4) };
    await runOnce(gpu, (recorder) => expandInt8(recorder, { palettes, weights }));
    const expected = matrices.map(int8Matrix);
    const actual = new Int8Array(await readBytes(gpu, codes));
    // Padding holds whatever its planes say: such rows have scale 0, such columns meet zeros.
    const padded = 16 * Math.ceil(shape.rows / 16);
    const row = (i: number) => (4 * Math.floor(i / (4 * cols)) + ((i >> 2) & 3)) % padded;
    const col = (i: number) => (Math.floor(i / 16) % (cols / 4)) * 4 + (i & 3);
    const wrong = int8Codes(expected).filter((code, i) => row(i) < shape.rows && col(i) < shape.cols && actual[i] !== code);
    expect(wrong.length).toBe(0);
    expect(nmse(await readFloats(gpu, scales), int8Scales(expected))).toBeLessThan(1e-12);
  });

  it("moves kept columns behind the codes", async () => {
    const matrix = paletteMatrix({ rows: 52, cols: 176, bits: [4, 3], kept: 5 }, 1);
    const palettes = uploadMatrices(gpu, [matrix], false);
    const expected = uploadInt8(gpu, [int8Matrix(matrix)]);
    const codes = gpu.buffer("codes", expected.codes.size, READABLE);
    const weights = { ...expected, codes, scales: gpu.buffer("scales", 4 * palettes.rows) };
    await runOnce(gpu, (recorder) => expandInt8(recorder, { palettes, weights }));
    const kept = packKept(matrix.kept!, matrix.rows);
    expect(new Uint32Array((await readBytes(gpu, codes)).slice(-kept.byteLength))).toEqual(kept);
  });
});
