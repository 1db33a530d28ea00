import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADAPTER_CASES } from "../../runtime/engine/self-test/cases-adapter";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, readFloats, runOnce, testGpu } from "./harness";

const CASES = ADAPTER_CASES.filter(({ kernel }) => kernel === "adapter-down");

describe.each([{ software: false }, { software: true }])("adapter-down, software mapping $software", ({ software }) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ choice: { software } });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ prepare, gate }) => {
    const { record, outputs } = prepare(gpu, gpu.tier);
    await runOnce(gpu, record);
    for (const { buffer, expected } of outputs)
      expect(nmse(await readFloats(gpu, buffer), expected)).toBeLessThan(gate(gpu.tier));
  });
});
