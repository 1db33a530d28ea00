import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecInt8 } from "../../kernels/matvec-int8";
import { int8Matrix } from "../../kernels/reference/expand-int8";
import { int8Row } from "../../kernels/reference/int8-row";
import { matvecInt8 as twin } from "../../kernels/reference/matvec-int8";
import { roomForRows, uploadInt8, uploadRows } from "../../runtime/engine/self-test/int8";
import { type PaletteCase, paletteMatrix } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, random, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

const CASES: (PaletteCase & { name: string; norm?: boolean; add?: boolean; outlier?: number })[] = [
  { name: "one block", rows: 16, cols: 64, bits: [4] },
  { name: "sample's o_proj", rows: 576, cols: 576, bits: [4], add: true },
  { name: "2, 3 and 4 bits by block", rows: 112, cols: 320, bits: [4, 2, 3, 3], norm: true },
  { name: "rows not a multiple of 16, cols not of 64", rows: 52, cols: 176, bits: [4, 3], norm: true },
  { name: "an outlier of 24,289 under a norm", rows: 96, cols: 576, bits: [4], norm: true, outlier: 24289 },
  { name: "down_proj's width", rows: 64, cols: 1536, bits: [4, 2], add: true },
  { name: "8 columns kept", rows: 64, cols: 1536, bits: [4, 2], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", rows: 52, cols: 176, bits: [4, 3], kept: 5 },
];

describe("matvec-int8", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ norm, add, outlier, ...shape }) => {
    const matrix = int8Matrix(paletteMatrix(shape, 1));
    const values = normals(shape.cols, 2);
    if (outlier) values[5] = outlier;
    const x = int8Row(values);
    const residual = normals(shape.rows, 3);
    const weights = uploadInt8(gpu, [matrix]);
    const yStride = 64 * Math.ceil(weights.rows / 64);
    const y = gpu.buffer("y", 4 * yStride, READABLE);
    const y8 = roomForRows(gpu, yStride);
    if (add) gpu.write(y, 0, residual);
    const eps = 1e-5;
    await runOnce(gpu, (recorder) =>
      matvecInt8(recorder, {
        weights,
        x8: uploadRows(gpu, [x]),
        state: stepState(gpu, {}),
        y,
        yStride,
        y8,
        int8: true,
        norm: norm ? { eps, cols: shape.cols } : undefined,
        add,
        tokens: 1,
      }),
    );
    const actual = await readFloats(gpu, y);
    const expected = twin({ matrix, x, normEps: norm ? eps : undefined, residual: add ? residual : undefined });
    expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expectInt8Row(await readBytes(gpu, y8), 0, actual);
  });

  /** 17 extreme blocks and a random one: sums of 16 products reach 258,064, which no f16 or bf16 accumulator holds. */
  it("sums integers exactly", async () => {
    const [rows, cols] = [288, 1536];
    const uniform = random(1);
    const codes = Int8Array.from({ length: rows * cols }, (_, i) =>
      i < 16 * cols * 17 ? (i % 2 ? -127 : 127) : Math.floor(255 * uniform()) - 127,
    );
    const matrix = { rows, cols, codes, scales: new Float64Array(rows).fill(1) };
    const x = {
      codes: Int8Array.from({ length: cols }, (_, c) => (c < 512 ? (c % 2 ? -127 : 127) : Math.floor(255 * uniform()) - 127)),
      scales: new Float32Array(cols / 16).fill(1),
    };
    const y = gpu.buffer("y", 4 * rows, READABLE);
    await runOnce(gpu, (recorder) =>
      matvecInt8(recorder, {
        weights: uploadInt8(gpu, [matrix]),
        x8: uploadRows(gpu, [x]),
        state: stepState(gpu, {}),
        y,
        yStride: rows,
        y8: gpu.buffer("y8", 16),
        tokens: 1,
      }),
    );
    expect([...(await readFloats(gpu, y))]).toEqual([...twin({ matrix, x })]);
  });

  it("gives each of several tokens the bits that it has alone, and no more than the step has", async () => {
    const shape = { rows: 32, cols: 192, bits: [4, 3] };
    const weights = uploadInt8(gpu, [int8Matrix(paletteMatrix(shape, 1))]);
    const rows = [5, 6, 7].map((seed) => int8Row(normals(shape.cols, seed)));
    const run = async (xs: typeof rows, count: number) => {
      const y = gpu.buffer("y", 4 * 64 * xs.length, READABLE);
      const y8 = roomForRows(gpu, 64, xs.length);
      await runOnce(gpu, (recorder) =>
        matvecInt8(recorder, {
          weights,
          x8: uploadRows(gpu, xs),
          state: stepState(gpu, { count }),
          y,
          yStride: 64,
          y8,
          int8: true,
          norm: { eps: 1e-5, cols: shape.cols },
          tokens: xs.length,
        }),
      );
      return [await readBytes(gpu, y), await readBytes(gpu, y8)].map((bytes) => [...new Uint32Array(bytes)]);
    };
    const alone = await Promise.all(rows.slice(0, 2).map((row) => run([row], 1)));
    const [y, y8] = await run(rows, 2);
    expect(y).toEqual([...alone[0][0], ...alone[1][0], ...Array(64).fill(0)]);
    expect(y8).toEqual([...alone[0][1], ...alone[1][1], ...Array(20).fill(0)]);
  });
});
