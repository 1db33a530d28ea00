import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { swiglu as twin } from "../../kernels/reference/swiglu";
import { swiglu } from "../../kernels/swiglu";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a gate of -100: exp(100) is beyond f32, and the result must be 0 and not 0 times infinity. */
const CASES = [
  { name: "four rows", T: 1, rows: 4 },
  { name: "one row group short of a workgroup", T: 3, rows: 252 },
  { name: "the sample's width", T: 5, rows: 1536 },
  { name: "gates of -100", T: 2, rows: 260, gate: -100 },
];

describe("swiglu", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, rows, gate }) => {
    const v = normals(T * 2 * rows, 1, 2);
    if (gate) for (let t = 0; t < T; t++) v.fill(gate, t * 2 * rows, t * 2 * rows + rows / 2);
    const yStride = rows + 4;
    const y = gpu.upload("y", new Float32Array((T + 1) * yStride).fill(7), READABLE);
    await runOnce(gpu, (recorder) =>
      swiglu(recorder, { v: gpu.upload("v", v), rows, state: stepState(gpu, { count: T }), y, yStride, tokens: T + 1 }),
    );
    const all = await readFloats(gpu, y);
    const expected = twin({ v, rows });
    for (let t = 0; t < T; t++) {
      const [actual, padding] = [
        all.subarray(t * yStride, t * yStride + rows),
        all.subarray(t * yStride + rows, (t + 1) * yStride),
      ];
      expect(nmse(actual, expected.subarray(t * rows, (t + 1) * rows))).toBeLessThan(1e-10);
      expect(new Set(padding)).toEqual(new Set([7]));
    }
    expect(new Set(all.subarray(T * yStride))).toEqual(new Set([7])); // beyond the step nothing is written
  });
});
