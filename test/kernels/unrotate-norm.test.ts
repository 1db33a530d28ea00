import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unrotateNorm as twin } from "../../kernels/reference/unrotate-norm";
import { unrotateNorm } from "../../kernels/unrotate-norm";
import { rotationBuffer } from "../../runtime/engine/self-test/vocabulary";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is the last two of several rows, one with an outlier of 24,289 spread by the rotation. */
const CASES = [
  { name: "power of two", D: 64, dct: 1 },
  { name: "5 x 16", D: 80, dct: 5 },
  { name: "sample's 9 x 64, with an outlier", D: 576, dct: 9, outlier: 24289 },
  { name: "unrotated", D: 96, dct: 0 },
];

describe.each([true, false])("unrotate-norm, software mapping %s", (software) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ choice: { software } });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ D, dct, outlier }) => {
    const { rotation, buffer } = rotationBuffer(gpu, D, dct);
    const stride = 64 * Math.ceil(D / 64);
    const row = 2;
    const x = normals(4 * stride, 1);
    if (outlier) x[row * stride + 9] = outlier;
    const weight = normals(D, 2);
    const y = gpu.upload("y", new Float32Array(3 * D).fill(77), READABLE);
    await runOnce(gpu, (recorder) =>
      unrotateNorm(recorder, {
        x: gpu.upload("x", x),
        stride,
        D,
        rotation: buffer,
        normWeight: gpu.upload("norm", weight),
        eps: 1e-5,
        state: stepState(gpu, { count: 4, row }),
        y,
        rows: 3,
      }),
    );
    const actual = await readFloats(gpu, y);
    for (let t = 0; t < 2; t++) {
      const from = (row + t) * stride;
      const expected = twin({ x: x.subarray(from, from + D), weight, eps: 1e-5, rotation });
      expect(nmse(actual.subarray(t * D, (t + 1) * D), expected)).toBeLessThan(1e-10);
    }
    expect([...actual.subarray(2 * D)].every((value) => value === 77)).toBe(true);
  });
});
