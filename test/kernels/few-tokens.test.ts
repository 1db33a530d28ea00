/** Several tokens through the decode linears: the bits that each has alone, and nothing written beyond the step or the rows. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Recorder } from "../../kernels/define-kernel";
import type { FewTokens } from "../../kernels/few-tokens";
import { headInt8 } from "../../kernels/head-int8";
import { matvecDense } from "../../kernels/matvec-dense";
import { matvecPalette } from "../../kernels/matvec-palette";
import { matvecSwigluPalette } from "../../kernels/matvec-swiglu-palette";
import { paletteMatrix, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import { vocabulary } from "../../runtime/engine/self-test/vocabulary";
import type { Gpu } from "../../runtime/gpu/device";
import { normals, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

interface Operands extends FewTokens {
  x: GPUBuffer;
  y: GPUBuffer;
  state: GPUBuffer;
}

interface Case {
  name: string;
  cols: number;
  rows: number;
  /** Padding between the tokens of x, and of y. */
  xPad: number;
  yPad: number;
  prepare(gpu: Gpu): (recorder: Recorder, operands: Operands) => void;
}

const norm = { eps: 1e-5, cols: 300 };

const CASES: Case[] = [
  {
    ...{ name: "matvec-palette, 2 to 4 bits, norm and residual", cols: 320, rows: 112, xPad: 64, yPad: 16 },
    prepare(gpu) {
      const weights = uploadMatrices(gpu, [paletteMatrix({ rows: 112, cols: 320, bits: [4, 2, 3] }, 1)]);
      return (recorder, operands) => matvecPalette(recorder, { weights, norm, add: true, ...operands });
    },
  },
  {
    ...{ name: "matvec-palette, wide", cols: 1536, rows: 16, xPad: 0, yPad: 0 },
    prepare(gpu) {
      const weights = uploadMatrices(gpu, [paletteMatrix({ rows: 16, cols: 1536, bits: [4] }, 1)]);
      return (recorder, operands) => matvecPalette(recorder, { weights, ...operands });
    },
  },
  {
    ...{ name: "matvec-swiglu-palette", cols: 320, rows: 80, xPad: 0, yPad: 48 },
    prepare(gpu) {
      const shape = { rows: 80, cols: 320, bits: [4, 3] };
      const weights = uploadMatrices(gpu, [paletteMatrix(shape, 1), paletteMatrix(shape, 2)]);
      return (recorder, operands) => matvecSwigluPalette(recorder, { weights, norm, ...operands });
    },
  },
  {
    ...{ name: "matvec-dense, norm", cols: 320, rows: 36, xPad: 4, yPad: 4 },
    prepare(gpu) {
      const weights = gpu.upload("weights", normals(36 * 320, 1));
      const matrix = { weights, rows: 36, cols: 320, bytes: weights.size };
      return (recorder, operands) => matvecDense(recorder, { matrix, norm, ...operands });
    },
  },
  {
    ...{ name: "head-int8", cols: 64, rows: 260, xPad: 16, yPad: 0 },
    prepare(gpu) {
      const { buffers } = vocabulary(gpu, 257, 64);
      return (recorder, { y, yStride: _, ...operands }) => headInt8(recorder, { head: buffers, logits: y, ...operands });
    },
  },
];

describe.each(Object.entries(TIERS))("a few tokens, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ cols, rows, xPad, yPad, prepare }) => {
    const record = prepare(gpu);
    const [xStride, yStride] = [cols + xPad, rows + yPad];
    const [tokens, count] = [8, 7];
    const x = normals(tokens * xStride, 2);
    const before = normals(tokens * yStride, 3);
    const run = async (operands: FewTokens, x: Float32Array, y: Float32Array, count: number) => {
      const buffer = gpu.upload("y", y, READABLE);
      const state = stepState(gpu, { count });
      await runOnce(gpu, (recorder) => record(recorder, { ...operands, x: gpu.upload("x", x), y: buffer, state }));
      return readFloats(gpu, buffer);
    };
    const all = await run({ tokens, xStride, yStride }, x, before, count);
    const alone = before.slice();
    for (let t = 0; t < count; t++) {
      const at = t * yStride;
      alone.set(await run({}, x.slice(t * xStride, t * xStride + cols), before.slice(at, at + rows), 1), at);
    }
    expect(new Uint32Array(all.buffer)).toEqual(new Uint32Array(alone.buffer));
    expect(all.subarray(0, rows)).not.toEqual(before.subarray(0, rows));
  });

  it("refuses more tokens than registers hold, and rows that overlap", async () => {
    const record = CASES[1].prepare(gpu);
    const [x, y] = [gpu.buffer("x", 64), gpu.buffer("y", 64)];
    const run = (few: FewTokens) => runOnce(gpu, (recorder) => record(recorder, { x, y, state: y, ...few }));
    await expect(run({ tokens: 9 })).rejects.toThrow("[matvec-palette] tokens must be 1 to 8 but are 9.");
    await expect(run({ tokens: 2, xStride: 1532 })).rejects.toThrow("xStride must be a multiple of 4 from 1536 on but is 1532.");
    await expect(run({ tokens: 2, yStride: 18 })).rejects.toThrow("yStride must be a multiple of 4 from 16 on but is 18.");
  });
});
