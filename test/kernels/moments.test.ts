import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { moments } from "../../kernels/moments";
import { moments as twin } from "../../kernels/reference/moments";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, testGpu } from "./harness";

const CASES = [
  { name: "one token, one column", T: 1, cols: 1 },
  { name: "a slab and a tile", T: 16, cols: 64 },
  { name: "one more of both", T: 17, cols: 65 },
  { name: "three tiles, an outlier 1000 times as large", T: 40, cols: 190, outlier: 1000 },
  { name: "an input that never moves", T: 20, cols: 70, outlier: 0 },
];

/** Where the driver does not fuse a product and a sum, which is none of the software ones, the result is the twin's to the last bit. */
describe("moments", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  const lower = (m: Float32Array, stride: number, cols: number) =>
    m.filter((_, at) => at % stride <= Math.floor(at / stride) && Math.floor(at / stride) < cols);

  it.each(CASES)("$name", async ({ T, cols, outlier = 1 }) => {
    const stride = 64 * Math.ceil(cols / 64);
    const x = padRows(normals(T * cols, 1), T, cols, stride);
    for (let t = 0; t < T; t++) x[t * stride + cols - 1] *= outlier;
    // What lies behind the last token must not be read.
    const canary = new Float32Array((T + 3) * stride).fill(Number.NaN);
    canary.set(x);
    const m = gpu.upload("m", new Float32Array(stride * stride), READABLE);
    await runOnce(gpu, (recorder) =>
      moments(recorder, { x: gpu.upload("x", canary), tokens: T, stride, m, firstRow: 0, rows: stride }),
    );
    const expected = lower(twin({ x, cols: stride }), stride, cols);
    const actual = lower(await readFloats(gpu, m), stride, cols);
    expect(nmse(actual, expected)).toBeLessThan(1e-10);
    if (gpu.info.isFallback) expect(actual).toEqual(expected);
  });

  it("in pieces of tokens and in bands of rows, the same to the last bit", async () => {
    const [T, cols] = [50, 192];
    const x = normals(T * cols, 5);
    const whole = gpu.upload("m", new Float32Array(cols * cols), READABLE);
    await runOnce(gpu, (recorder) =>
      moments(recorder, { x: gpu.upload("x", x), tokens: T, stride: cols, m: whole, firstRow: 0, rows: cols }),
    );
    const all = await readFloats(gpu, whole);
    const [firstRow, rows] = [64, 128];
    const band = gpu.upload("m", new Float32Array(rows * cols), READABLE);
    for (const [from, to] of [
      [0, 21],
      [21, 50],
    ]) {
      const piece = gpu.upload("x", x.subarray(from * cols, to * cols));
      await runOnce(gpu, (recorder) => moments(recorder, { x: piece, tokens: to - from, stride: cols, m: band, firstRow, rows }));
    }
    const part = await readFloats(gpu, band);
    for (let i = 0; i < rows; i++) {
      const end = firstRow + i + 1;
      expect(part.subarray(i * cols, i * cols + end)).toEqual(all.subarray((firstRow + i) * cols, (firstRow + i) * cols + end));
    }
  });
});
