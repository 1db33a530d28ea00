import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rmsInverse as twin } from "../../kernels/reference/rms-inverse";
import { rmsInverse } from "../../kernels/rms-inverse";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a value of 24,289, as the sample model's residual has: its square is beyond f16, the sum of squares must be f32. */
const CASES = [
  { name: "one narrow token", T: 1, cols: 20 },
  { name: "sample's width", T: 5, cols: 576 },
  { name: "an outlier of 24,289", T: 2, cols: 576, outlier: 24289 },
  { name: "all zero: the epsilon alone", T: 1, cols: 64, zero: true },
];

describe.each([true, false])("rms-inverse, software mapping %s", (software) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ choice: { software } });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, cols, outlier, zero }) => {
    const x = zero ? new Float32Array(T * cols) : normals(T * cols, 1, 3);
    if (outlier) x[7] = outlier;
    const stride = 64 * Math.ceil(cols / 64);
    const scale = gpu.buffer("scale", 4 * (T + 1), READABLE);
    await runOnce(gpu, (recorder) =>
      rmsInverse(recorder, {
        x: gpu.upload("x", padRows(x, T, cols, stride)),
        stride,
        cols,
        eps: 1e-5,
        state: stepState(gpu, { count: T }),
        scale,
        tokens: T + 1,
      }),
    );
    const actual = await readFloats(gpu, scale);
    expect(nmse(actual, twin({ x, D: cols, eps: 1e-5 }))).toBeLessThan(1e-10);
    expect(actual[T]).toBe(0); // beyond the step nothing is written
  });
});
