import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { changeWidths } from "../../kernels/change-widths";
import { changeWidths as twin } from "../../kernels/reference/change-widths";
import type { PaletteMatrix } from "../../kernels/reference/palette-matrix";
import { type PaletteCase, paletteMatrix, planesOf, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import { narrowLinear } from "../../runtime/formats/narrow";
import type { Gpu } from "../../runtime/gpu/device";
import { READABLE, readBytes, runOnce, testGpu } from "./harness";

interface Case extends PaletteCase {
  name: string;
  /** What each block of `bits` becomes. */
  to: number[];
}

const CASES: Case[] = [
  { name: "one block to 3 bits", rows: 16, cols: 64, bits: [4], to: [3] },
  { name: "one block to 2 bits", rows: 16, cols: 64, bits: [4], to: [2] },
  { name: "every pair of widths", rows: 96, cols: 320, bits: [4, 4, 4, 3, 3, 2], to: [4, 3, 2, 3, 2, 2] },
  { name: "more than a workgroup of columns, some blocks", rows: 64, cols: 1536, bits: [4, 3], to: [3, 3, 4, 2] },
  { name: "all ones", rows: 64, cols: 192, bits: [4, 4, 4, 3], to: [4, 3, 2, 2], codes: "ones" },
  { name: "nothing changes", rows: 48, cols: 128, bits: [4, 3, 2], to: [4, 3, 2] },
];

const narrowed = (matrix: PaletteMatrix, to: number[]): PaletteMatrix => ({
  ...matrix,
  ...narrowLinear(
    matrix,
    matrix.bits.map((_, block) => to[block % to.length]),
    matrix.cols,
  ),
});

/** Of each block: bits, first plane1 row, first plane2 row, 0. */
const nextOf = (blocks: Uint32Array): Uint32Array => blocks.filter((_, i) => i % 20 < 4);

describe("change-widths", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  /** From one matrix to another with the same codes, as far as they go; `given` holds the planes that come anew. */
  async function change(from: PaletteMatrix, to: PaletteMatrix, given?: PaletteMatrix) {
    const weights = uploadMatrices(gpu, [from]);
    const after = planesOf([to]);
    const anew = given && planesOf([given], false);
    const next = gpu.upload("next", nextOf(after.blocks));
    const fresh = (name: "plane1" | "plane2") => anew?.[name].slice() ?? new Uint32Array(after[name].length);
    const cpu = { ...planesOf([from]), next: nextOf(after.blocks), next1: fresh("plane1"), next2: fresh("plane2") };
    const next1 = gpu.upload("next1", cpu.next1, READABLE);
    const next2 = gpu.upload("next2", cpu.next2, READABLE);
    await runOnce(gpu, (recorder) => changeWidths(recorder, { weights, next, next1, next2 }));
    twin(cpu);
    const read = async (buffer: GPUBuffer) => new Uint32Array(await readBytes(gpu, buffer));
    return {
      gpu: { plane0: await read(weights.plane0), plane1: await read(next1), plane2: await read(next2) },
      cpu: { plane0: cpu.plane0, plane1: cpu.next1, plane2: cpu.next2 },
      after: { plane0: after.plane0, plane1: after.plane1, plane2: after.plane2 },
    };
  }

  it.each(CASES)("down: $name", async ({ name: _, to, ...shape }) => {
    const matrix = paletteMatrix(shape, 1);
    const changed = await change(matrix, narrowed(matrix, to));
    expect(changed.gpu).toEqual(changed.after);
    expect(changed.cpu).toEqual(changed.after);
  });

  it.each(CASES)("up again: $name", async ({ name: _, to, ...shape }) => {
    const matrix = paletteMatrix(shape, 2);
    const changed = await change(narrowed(matrix, to), matrix, matrix);
    expect(changed.gpu).toEqual(changed.after);
    expect(changed.cpu).toEqual(changed.after);
  });

  it("some blocks up while others go down", async () => {
    const matrix = paletteMatrix({ rows: 64, cols: 128, bits: [4, 4, 3, 4] }, 3);
    const to = narrowed(matrix, [4, 2, 3, 3]);
    const changed = await change(narrowed(matrix, [3, 4, 2, 2]), to, to);
    expect(changed.gpu).toEqual(changed.after);
    expect(changed.cpu).toEqual(changed.after);
  });

  it("refuses rows that are no whole blocks", async () => {
    const weights = { ...uploadMatrices(gpu, [paletteMatrix({ rows: 16, cols: 64, bits: [4] }, 1)]), rows: 12 };
    const buffer = gpu.buffer("any", 16);
    const record = () =>
      runOnce(gpu, (recorder) => changeWidths(recorder, { weights, next: buffer, next1: buffer, next2: buffer }));
    await expect(record()).rejects.toMatchObject({ code: "KERNEL_SHAPE" });
  });
});
