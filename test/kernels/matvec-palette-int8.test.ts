import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { matvecPaletteInt8 } from "../../kernels/matvec-palette-int8";
import { type Int8Row, int8Row } from "../../kernels/reference/int8-row";
import { matvecPaletteInt8 as twin } from "../../kernels/reference/matvec-palette-int8";
import { roomForRows, uploadRows } from "../../runtime/engine/self-test/int8";
import { type PaletteCase, paletteMatrix, uploadMatrices, wholePalettes } from "../../runtime/engine/self-test/palettes";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, random, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

/** The worst case is the last bit of the last plane, and blocks of different widths side by side. */
const CASES: (PaletteCase & { name: string; norm?: boolean; add?: boolean; outlier?: number })[] = [
  { name: "one block", rows: 16, cols: 64, bits: [4] },
  { name: "sample's o_proj", rows: 576, cols: 576, bits: [4], add: true },
  { name: "2, 3 and 4 bits by block", rows: 112, cols: 320, bits: [4, 2, 3, 3], norm: true },
  { name: "rows not a multiple of 16, cols not of 64", rows: 52, cols: 176, bits: [4, 3], norm: true },
  { name: "every code 15", rows: 48, cols: 192, bits: [4, 3, 2], codes: "ones" },
  { name: "an outlier of 24,289 under a norm", rows: 96, cols: 576, bits: [4], norm: true, outlier: 24289 },
  { name: "down_proj's width", rows: 64, cols: 1536, bits: [4, 2], add: true },
  { name: "8 columns kept", rows: 64, cols: 1536, bits: [4, 2], add: true, kept: 8 },
  { name: "5 columns kept of a width that is padded", rows: 52, cols: 176, bits: [4, 3], kept: 5 },
];
const MAPPINGS = {
  portable: { choice: { int8: true }, disable: ["subgroups"] },
  "32 lanes, subgroups": { choice: { int8: true, lanes: 32 } },
} as const;

describe.each(Object.entries(MAPPINGS))("matvec-palette-int8, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ norm, add, outlier, ...shape }) => {
    const matrix = paletteMatrix(shape, 1);
    const values = normals(shape.cols, 2);
    if (outlier) values[5] = outlier;
    const x = int8Row(values);
    const residual = normals(shape.rows, 3);
    const weights = uploadMatrices(gpu, [matrix]);
    const yStride = 64 * Math.ceil(weights.rows / 64);
    const y = gpu.buffer("y", 4 * yStride, READABLE);
    const y8 = roomForRows(gpu, yStride);
    if (add) gpu.write(y, 0, residual);
    const normed = norm ? { eps: 1e-5, cols: shape.cols } : undefined;
    const operands = { weights, x8: uploadRows(gpu, [x]), state: stepState(gpu, {}), y, yStride, y8, int8: true, add, tokens: 1 };
    await runOnce(gpu, (recorder) => matvecPaletteInt8(recorder, { ...operands, norm: normed }));
    const actual = await readFloats(gpu, y);
    const expected = twin({ matrix, x, normEps: normed?.eps, residual: add ? residual : undefined });
    expect(nmse(actual, expected)).toBeLessThan(1e-10);
    expectInt8Row(await readBytes(gpu, y8), 0, actual);
  });

  it("sums integers exactly", async () => {
    const shape = { rows: 160, cols: 1536, bits: [4, 3, 2] };
    const matrix = wholePalettes(paletteMatrix(shape, 1));
    const uniform = random(2);
    const x: Int8Row = {
      codes: Int8Array.from({ length: shape.cols }, (_, c) => (c < 512 ? 127 : Math.floor(255 * uniform()) - 127)),
      scales: new Float32Array(shape.cols / 16).fill(1),
    };
    const y = gpu.buffer("y", 4 * shape.rows, READABLE);
    const weights = uploadMatrices(gpu, [matrix]);
    const operands = { weights, x8: uploadRows(gpu, [x]), state: stepState(gpu, {}), y, yStride: shape.rows, tokens: 1 };
    await runOnce(gpu, (recorder) => matvecPaletteInt8(recorder, { ...operands, y8: gpu.buffer("y8", 16) }));
    expect([...(await readFloats(gpu, y))]).toEqual([...twin({ matrix, x })]);
  });

  it("gives each of several tokens the bits that it has alone, and no more than the step has", async () => {
    const shape = { rows: 32, cols: 192, bits: [4, 3] };
    const weights = uploadMatrices(gpu, [paletteMatrix(shape, 1)]);
    const rows = [5, 6, 7].map((seed) => int8Row(normals(shape.cols, seed)));
    const run = async (xs: typeof rows, count: number) => {
      const y = gpu.buffer("y", 4 * 64 * xs.length, READABLE);
      const y8 = roomForRows(gpu, 64, xs.length);
      const state = stepState(gpu, { count });
      const norm = { eps: 1e-5, cols: shape.cols };
      const operands = { weights, x8: uploadRows(gpu, xs), state, y, yStride: 64, y8, int8: true, norm, tokens: xs.length };
      await runOnce(gpu, (recorder) => matvecPaletteInt8(recorder, operands));
      return [await readBytes(gpu, y), await readBytes(gpu, y8)].map((bytes) => [...new Uint32Array(bytes)]);
    };
    const alone = await Promise.all(rows.slice(0, 2).map((row) => run([row], 1)));
    const [y, y8] = await run(rows, 2);
    expect(y).toEqual([...alone[0][0], ...alone[1][0], ...Array(64).fill(0)]);
    expect(y8).toEqual([...alone[0][1], ...alone[1][1], ...Array(20).fill(0)]);
  });
});
