import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { assignFeedback } from "../../kernels/assign-feedback";
import { assignFeedback as twin } from "../../kernels/reference/assign-feedback";
import { moments } from "../../kernels/reference/moments";
import { inverseFactor } from "../../runtime/compute/inverse-factor";
import type { Gpu } from "../../runtime/gpu/device";
import { sideBySide } from "./block-fixture";
import { normals, READABLE, readBytes, readFloats, runOnce, testGpu } from "./harness";

interface Shape {
  name: string;
  rows: number;
  cols: number;
  coded?: number;
  widths?: number[];
  /** Columns of each piece of the factor. */
  piece?: number;
  change?: (values: Float32Array, cols: number) => void;
}

const CASES: Shape[] = [
  { name: "one value", rows: 1, cols: 1 },
  { name: "one column", rows: 16, cols: 1 },
  { name: "a panel", rows: 16, cols: 32 },
  { name: "one more column", rows: 16, cols: 33 },
  { name: "rows not a multiple of 16, cols not of 64, 2 to 4 bits", rows: 39, cols: 150, widths: [3, 4, 2] },
  { name: "kept columns across a panel's end", rows: 16, cols: 70, coded: 62 },
  { name: "nothing coded", rows: 16, cols: 40, coded: 0 },
  { name: "a factor in pieces", rows: 32, cols: 200, piece: 64 },
  { name: "an outlier 1000 times as large", rows: 16, cols: 96, change: (x) => x.fill(1000, 3, 4) },
  { name: "all values equal", rows: 16, cols: 64, change: (x) => x.fill(-0.75) },
  { name: "rows of zeros", rows: 16, cols: 64, change: (x, cols) => x.fill(0, cols, 9 * cols) },
  { name: "on the borders", rows: 16, cols: 64, change: (x) => x.set(x.map((_, i) => ((i % 15) - 7) / 4)) },
];

/** How near a border the first code must have been that differs from the twin's where the driver fuses products and sums. */
const TIE = 1e-5;

describe("assign-feedback", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ rows, cols, coded = cols, widths = [], piece = cols, change }) => {
    const values = normals(rows * cols, 2);
    change?.(values, cols);
    // Inputs that go together, so that the feedback has something to pass on.
    const inputs = normals(2 * cols * cols, 3).map((value, i) => value + Math.sin(i / cols));
    const factor = inverseFactor(moments({ x: inputs, cols }), cols, 0.01);
    const blocks = Math.ceil(rows / 16);
    const bits = Uint32Array.from({ length: blocks }, (_, block) => widths[block] ?? 4);
    const palettes = Float32Array.from({ length: blocks * 16 }, (_, i) => ((i % 16) - (2 ** bits[i >> 4] - 1) / 2) / 4);
    const inverse = Float32Array.from({ length: cols }, (_, j) => 1 / factor[j * cols + j]);
    const panels = Math.ceil(cols / 32);
    const x = gpu.upload("x", sideBySide(values, rows, cols), READABLE);
    const codes = gpu.buffer("codes", blocks * panels * 256, READABLE);
    const errors = gpu.buffer("errors", blocks * 64, READABLE);
    const shared = { x, blocks, cols, coded, codes, errors };
    const uploads = {
      palettes: gpu.upload("palettes", palettes),
      widths: gpu.upload("widths", bits),
      inverse: gpu.upload("inverse", inverse),
    };
    for (let first = 0; first < cols; first += piece) {
      const count = Math.min(piece, cols - first);
      const columns = Float32Array.from({ length: (first + count) * count }, (_, at) => {
        return factor[Math.floor(at / count) * cols + first + (at % count)];
      });
      const operands = { ...shared, ...uploads, factor: gpu.upload("factor", columns), first, count };
      await runOnce(gpu, (recorder) => assignFeedback(recorder, operands));
    }
    const words = new Uint32Array(await readBytes(gpu, codes));
    const passed = await readFloats(gpu, x);
    const sums = await readFloats(gpu, errors);
    for (let r = 0; r < rows; r++) {
      const block = r >> 4;
      const palette = palettes.subarray(block * 16, block * 16 + 2 ** bits[block]);
      const expected = twin({ x: values.slice(r * cols, (r + 1) * cols), palette, factor, coded });
      const code = (c: number) => {
        const word = words[((block * panels + (c >> 5)) * 16 + (r & 15)) * 4 + ((c & 31) >> 3)];
        return (word >>> (4 * (c & 7))) & 15;
      };
      const actual = Uint8Array.from({ length: coded }, (_, c) => code(c));
      if (gpu.info.isFallback) {
        expect(actual).toEqual(expected.codes.subarray(0, coded));
        expect(sums[r]).toBe(expected.error);
        for (let c = 0; c < cols; c++) expect(passed[(block * cols + c) * 16 + (r & 15)]).toBe(expected.passed[c]);
      } else {
        const first = actual.findIndex((value, c) => value !== expected.codes[c]);
        if (first >= 0) expect(expected.margins[first]).toBeLessThan(TIE);
      }
    }
  });
});
