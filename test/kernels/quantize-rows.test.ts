import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quantizeRows } from "../../kernels/quantize-rows";
import { unpackInt8Row } from "../../kernels/reference/int8-row";
import { quantizeRows as twin } from "../../kernels/reference/quantize-rows";
import { roomForRows } from "../../runtime/engine/self-test/int8";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, padRows, READABLE, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

/** The worst cases are a block of zeros, one with a huge value, and one of values that are too small to divide by. */
const CASES = [
  { name: "one group", T: 1, cols: 64, eps: 1e-5 },
  { name: "more blocks than threads", T: 3, cols: 1536, eps: 1e-5 },
  { name: "a width that is padded, no norm", T: 2, cols: 176 },
  { name: "a width that is padded", T: 2, cols: 176, eps: 1e-5 },
];

describe("quantize-rows", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, cols, eps }) => {
    const x = normals((T + 1) * cols, 1);
    x.fill(0, 0, 16);
    x[20] = 24289;
    x.fill(1e-38, 32, 48);
    const stride = 64 * Math.ceil(cols / 64);
    const x8 = roomForRows(gpu, stride, T + 1);
    const scale = gpu.buffer("scale", 4 * (T + 1), READABLE);
    await runOnce(gpu, (recorder) =>
      quantizeRows(recorder, {
        x: gpu.upload("x", padRows(x, T + 1, cols, stride)),
        cols: stride,
        state: stepState(gpu, { count: T }),
        x8,
        scale,
        norm: eps === undefined ? undefined : { eps, cols },
        tokens: T + 1,
      }),
    );
    const bytes = await readBytes(gpu, x8);
    const scales = await readFloats(gpu, scale);
    for (let t = 0; t < T; t++) {
      const values = x.slice(t * cols, (t + 1) * cols);
      if (t === 0) values.fill(0, 32, 48);
      expectInt8Row(bytes, t, padRows(values, 1, cols, stride));
      const { scale: inverse = [0] } = twin({ x: values, D: cols, eps });
      expect(nmse(scales.subarray(t, t + 1), inverse)).toBeLessThan(1e-10);
    }
    expect(unpackInt8Row(bytes, stride, T).codes).toEqual(new Int8Array(stride));
    expect(scales[T]).toBe(0);
  });
});
