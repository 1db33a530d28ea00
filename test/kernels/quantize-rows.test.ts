import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quantizeRows } from "../../kernels/quantize-rows";
import { unpackInt8Row } from "../../kernels/reference/int8-row";
import { roomForRows } from "../../runtime/engine/self-test/int8";
import type { Gpu } from "../../runtime/gpu/device";
import { normals, readBytes, runOnce, stepState, testGpu } from "./harness";
import { expectInt8Row } from "./int8-rows";

/** The worst cases are a block of zeros, one with a huge value, and one of values that are too small to divide by. */
const CASES = [
  { name: "one group", cols: 64, T: 1 },
  { name: "several workgroups", cols: 1536, T: 3 },
];

describe("quantize-rows", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ cols, T }) => {
    const x = normals((T + 1) * cols, 1);
    x.fill(0, 0, 16);
    x[20] = 24289;
    x.fill(1e-38, 32, 48);
    const x8 = roomForRows(gpu, cols, T + 1);
    await runOnce(gpu, (recorder) =>
      quantizeRows(recorder, { x: gpu.upload("x", x), cols, state: stepState(gpu, { count: T }), x8, tokens: T + 1 }),
    );
    const bytes = await readBytes(gpu, x8);
    for (let t = 0; t < T; t++) {
      const values = x.slice(t * cols, (t + 1) * cols);
      if (t === 0) values.fill(0, 32, 48);
      expectInt8Row(bytes, t, values);
    }
    expect(unpackInt8Row(bytes, cols, T).codes).toEqual(new Int8Array(cols));
  });
});
