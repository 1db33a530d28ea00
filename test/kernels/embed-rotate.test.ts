import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { embedRotate } from "../../kernels/embed-rotate";
import { embedRotate as twin } from "../../kernels/reference/embed-rotate";
import { roomForRows } from "../../runtime/engine/self-test/int8";
import { rotationBuffer, vocabulary } from "../../runtime/engine/self-test/vocabulary";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, READABLE, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

/** The worst case is a width that is no power of two with a large odd part: 80 = 5 x 16, 576 = 9 x 64. */
const CASES = [
  { name: "power of two", D: 64, dct: 1 },
  { name: "5 x 16", D: 80, dct: 5 },
  { name: "sample's 9 x 64", D: 576, dct: 9 },
  { name: "a 3B model's 3 x 1024", D: 3072, dct: 3 },
  { name: "unrotated", D: 96, dct: 0 },
];

describe.each([true, false])("embed-rotate, software mapping %s", (software) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ choice: { software } });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ D, dct }) => {
    const V = 11;
    const { table, rowScale, buffers } = vocabulary(gpu, V, D);
    const { rotation, buffer } = rotationBuffer(gpu, D, dct);
    const ids = [3, 10, 0];
    const stride = 64 * Math.ceil(D / 64);
    const x = gpu.buffer("x", 4 * (ids.length + 1) * stride, READABLE);
    const x8 = roomForRows(gpu, stride, ids.length + 1);
    await runOnce(gpu, (recorder) =>
      embedRotate(recorder, {
        embedding: buffers,
        rotation: buffer,
        ids: gpu.upload("ids", Uint32Array.from([...ids, 5])),
        state: stepState(gpu, { count: ids.length }),
        x,
        stride,
        x8,
        int8: true,
        tokens: ids.length + 1,
      }),
    );
    const all = await readFloats(gpu, x);
    const actual = ids.flatMap((_, t) => [...all.subarray(t * stride, t * stride + D)]);
    expect(nmse(actual, twin({ table, rowScale, ids, D, rotation }))).toBeLessThan(1e-10);
    expect(all.subarray(ids.length * stride).every((value) => value === 0)).toBe(true);
    const rows = await readBytes(gpu, x8);
    for (let t = 0; t <= ids.length; t++) expectInt8Row(rows, t, all.subarray(t * stride, (t + 1) * stride));
  });
});
