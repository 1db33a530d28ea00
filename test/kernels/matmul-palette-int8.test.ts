import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matmulPaletteInt8 } from "../../kernels/matmul-palette-int8";
import { type Int8Row, int8Row } from "../../kernels/reference/int8-row";
import { matmulPaletteInt8 as twin } from "../../kernels/reference/matmul-palette-int8";
import type { PaletteMatrix } from "../../kernels/reference/palette-matrix";
import { uploadRows } from "../../runtime/engine/self-test/int8";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import { f32ToF16 } from "../../runtime/formats/f16";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, random, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a last tile with one token and one block: everything beyond must neither be read into nor written. */
const CASES = [
  { name: "one token, one block", T: 1, rows: 16, cols: 64, bits: [4] },
  { name: "a full tile", T: 64, rows: 64, cols: 128, bits: [4], scaled: true },
  { name: "65 tokens, 80 rows, mixed bits", T: 65, rows: 80, cols: 320, bits: [4, 2, 3], add: true },
  { name: "8 columns kept", T: 70, rows: 80, cols: 320, bits: [4, 2, 3], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", T: 9, rows: 52, cols: 176, bits: [4, 3], kept: 5 },
  { name: "every code 15", T: 9, rows: 32, cols: 192, bits: [4, 3, 2], codes: "ones" as const },
  { name: "an outlier of 24,289 in one block", T: 11, rows: 48, cols: 192, bits: [2, 4], scaled: true, outlier: 24289 },
  { name: "rows not a multiple of 16, cols not of 64", T: 20, rows: 52, cols: 176, bits: [3, 4], scaled: true },
];

describe("matmul-palette-int8", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  /** y [T, rows]; its rows beyond T are checked to keep their canary, and those of x are all ones, which is not a number too. */
  async function run(
    matrix: PaletteMatrix,
    x: readonly Int8Row[],
    { scale, residual }: { scale?: Float32Array; residual?: Float32Array } = {},
  ): Promise<Float32Array> {
    const T = x.length;
    const { rows } = matrix;
    const weights = uploadMatrices(gpu, [matrix]);
    const yStride = weights.rows + 48;
    const before = new Float32Array((T + 8) * yStride).fill(7);
    if (residual) before.set(padRows(residual, T, rows, yStride));
    const stray = { codes: new Int8Array(weights.cols).fill(-1), scales: new Float32Array(weights.cols / 16).fill(Number.NaN) };
    const y = gpu.upload("y", before, READABLE);
    await runOnce(gpu, (recorder) =>
      matmulPaletteInt8(recorder, {
        weights,
        x8: uploadRows(gpu, [...x, ...Array<Int8Row>(8).fill(stray)]),
        y,
        yStride,
        state: stepState(gpu, { count: T }),
        scale: gpu.upload("scale", scale ?? new Float32Array(T)),
        scaled: scale !== undefined,
        add: residual !== undefined,
        tokens: T + 8,
      }),
    );
    const all = await readFloats(gpu, y);
    expect(new Set(all.subarray(T * yStride))).toEqual(new Set([7]));
    return all.filter((_, i) => i < T * yStride && i % yStride < rows);
  }

  it.each(CASES)("$name", async ({ T, scaled, add, outlier, ...shape }) => {
    const matrix = paletteMatrix(shape, 1);
    const values = normals(T * shape.cols, 2);
    if (outlier) values[5] = outlier;
    const rows = Array.from({ length: T }, (_, t) => int8Row(values.subarray(t * shape.cols, (t + 1) * shape.cols)));
    const scale = scaled ? normals(T, 3) : undefined;
    const residual = add ? normals(T * shape.rows, 4) : undefined;
    const expected = twin({ matrix, x: rows, scale, residual });
    expect(nmse(await run(matrix, rows, { scale, residual }), expected)).toBeLessThan(1e-10);
  });

  /** Palettes of whole numbers up to 127 and scales of 1: nothing is rounded anywhere, and sums stay below 2^24. */
  it("sums integers exactly", async () => {
    const [T, cols] = [10, 512];
    const uniform = random(1);
    const whole = () => Math.floor(255 * uniform()) - 127;
    const random2to4 = paletteMatrix({ rows: 48, cols, bits: [4, 3, 2] }, 1);
    const palette = (entries: number) =>
      Uint16Array.from({ length: entries }, (_, i) => f32ToF16(i === 0 ? -127 : i === entries - 1 ? 127 : whole()));
    const matrix = {
      ...random2to4,
      palette4: palette(16),
      palette3: palette(8),
      palette2: palette(4),
      rowScale: new Uint16Array(48).fill(f32ToF16(1)),
    };
    const rows = Array.from({ length: T }, () => ({
      codes: Int8Array.from({ length: cols }, whole),
      scales: new Float32Array(cols / 16).fill(1),
    }));
    expect([...(await run(matrix, rows))]).toEqual([...twin({ matrix, x: rows })]);
  });
});
