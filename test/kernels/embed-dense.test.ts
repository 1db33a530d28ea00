import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { embedDense } from "../../kernels/embed-dense";
import { embedDense as twin } from "../../kernels/reference/embed-dense";
import type { Gpu } from "../../runtime/gpu/device";
import { denseMatrix } from "./dense-fixture";
import { READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a width that one pass of the workgroup does not cover, with the first and the last row of the table. */
const CASES = [
  { name: "narrow", D: 16 },
  { name: "one vec4 more than threads", D: 260 },
  { name: "sample's width", D: 576 },
];

describe("embed-dense", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ D }) => {
    const { weights: table, matrix } = denseMatrix(gpu, 11, D, { rowMultiple: 4, colMultiple: 4 });
    const ids = [3, 10, 0];
    const stride = 64 * Math.ceil(D / 64);
    const x = gpu.buffer("x", 4 * (ids.length + 1) * stride, READABLE);
    await runOnce(gpu, (recorder) =>
      embedDense(recorder, {
        table: matrix,
        ids: gpu.upload("ids", Uint32Array.from([...ids, 5])),
        state: stepState(gpu, { count: ids.length }),
        x,
        stride,
        tokens: ids.length + 1,
      }),
    );
    const all = await readFloats(gpu, x);
    const rows = ids.flatMap((_, t) => [...all.subarray(t * stride, t * stride + D)]);
    expect(rows).toEqual([...twin({ table, ids, D })]);
    expect(all.subarray(ids.length * stride).every((value) => value === 0)).toBe(true); // beyond the step nothing is written
  });
});
