import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packPairs } from "../../kernels/pack-pairs";
import { weightRow } from "../../kernels/reference/palette-matrix";
import { type PaletteCase, paletteMatrix, planesOf, uploadMatrices } from "../../runtime/engine/self-test/palettes";
import { f32ToF16 } from "../../runtime/formats/f16";
import type { Gpu } from "../../runtime/gpu/device";
import { readBytes, runOnce, testGpu } from "./harness";

/** The worst case is bit 31 of a plane, which a shift in the wrong order loses. */
const CASES: (PaletteCase & { name: string })[] = [
  { name: "one block", rows: 16, cols: 64, bits: [4] },
  { name: "more than a workgroup of columns", rows: 32, cols: 1536, bits: [4] },
  { name: "2, 3 and 4 bits by block", rows: 112, cols: 320, bits: [3, 4, 2, 4] },
  { name: "no block of 4 bits", rows: 32, cols: 128, bits: [3, 2] },
  { name: "all ones", rows: 32, cols: 192, bits: [4, 3], codes: "ones" },
];

const PLANES = ["plane0", "plane1", "plane2"] as const;

describe("pack-pairs", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ name: _, ...shape }) => {
    const matrices = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const weights = uploadMatrices(gpu, matrices, false);
    const expected = planesOf(matrices);
    await runOnce(gpu, (recorder) => packPairs(recorder, weights));
    for (const plane of PLANES) expect(new Uint32Array(await readBytes(gpu, weights[plane]))).toEqual(expected[plane]);
  });

  it("moves every single bit of every plane to where its column's code is", async () => {
    // 128 bits of a row's 32 columns: row r of 4 x 32 rows has the one bit r.
    const rows = 128;
    const shape = { rows, cols: 64, bits: [4], codes: "zeros" } as const;
    const matrix = paletteMatrix({ ...shape, bits: [4] }, 1);
    const planes = [matrix.plane0, matrix.plane1!, matrix.plane2!];
    for (let bit = 0; bit < rows; bit++) {
      const word = bit >> 5;
      const plane = planes[Math.max(0, word - 1)];
      const perRow = plane.length / rows;
      plane[bit * perRow + (word === 1 ? 1 : 0)] = (1 << (bit & 31)) >>> 0;
    }
    matrix.palette4!.forEach((_, i, palette) => {
      palette[i] = f32ToF16(i % 16);
    });
    matrix.rowScale.fill(f32ToF16(1));
    const weights = uploadMatrices(gpu, [matrix], false);
    await runOnce(gpu, (recorder) => packPairs(recorder, weights));
    const [plane0, plane1, plane2] = await Promise.all(
      PLANES.map(async (plane) => new Uint32Array(await readBytes(gpu, weights[plane]))),
    );
    const steps = 2;
    for (let row = 0; row < rows; row++) {
      const quad = row >> 2;
      const words = [plane0[quad * 2 * steps * 4 + (row & 3)], plane0[(quad * 2 + 1) * steps * 4 + (row & 3)]];
      words.push(plane1[quad * steps * 4 + (row & 3)], plane2[quad * steps * 4 + (row & 3)]);
      const codes = Array.from({ length: 32 }, (_, c) => {
        const word = words[2 * (c >> 4) + ((c >> 1) & 1)];
        return (word >>> (8 * ((c & 15) >> 2) + 4 * (c & 1))) & 15;
      });
      expect(codes).toEqual([...weightRow(matrix, row).subarray(0, 32)]);
    }
  });

  it("leaves blocks of 2 bits in planes", () => {
    const matrix = paletteMatrix({ rows: 32, cols: 128, bits: [4, 2] }, 3);
    const planes = planesOf([matrix], false);
    const packed = planesOf([matrix]);
    const half = planes.plane0.length / 2;
    expect(packed.plane0.subarray(half)).toEqual(planes.plane0.subarray(half));
    expect(packed.plane0.subarray(0, half)).not.toEqual(planes.plane0.subarray(0, half));
  });
});
