import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headInt8 } from "../../kernels/head-int8";
import { headInt8 as twin } from "../../kernels/reference/head-int8";
import { vocabulary } from "../../runtime/engine/self-test/vocabulary";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

/** The worst case is a vocabulary that no tile divides: its padding rows must stay out of the logits. */
const CASES = [
  { name: "one row", V: 1, D: 16 },
  { name: "prime vocabulary", V: 257, D: 64 },
  { name: "sample's width", V: 1000, D: 576 },
  { name: "wide", V: 37, D: 3072 },
];

describe.each(Object.entries(TIERS))("head-int8, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ V, D }) => {
    const { table, rowScale, buffers } = vocabulary(gpu, V, D);
    const x = normals(D, 4);
    const logits = gpu.buffer("logits", 16 * Math.ceil(V / 4), READABLE);
    await runOnce(gpu, (recorder) =>
      headInt8(recorder, { head: buffers, x: gpu.upload("x", x), state: stepState(gpu, {}), logits }),
    );
    expect(nmse(await readFloats(gpu, logits), twin({ table, rowScale, x }))).toBeLessThan(1e-10);
  });
});
