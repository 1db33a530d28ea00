import { describe, expect, it } from "vitest";
import type { KernelTier } from "../../kernels/define-kernel";
import { matvecMapping } from "../../kernels/matvec-mapping";

const tier: KernelTier = {
  ...{ software: false, int8: false, f32Pairs: false, lanes: 0 },
  ...{ f16: false, subgroupSize: 0, workgroupBytes: 32768 },
};

describe("matvecMapping", () => {
  it.each([
    { what: "8 lanes where 16 would idle", cols: 576, choice: {}, lanes: 8 },
    { what: "16 on wide rows", cols: 3072, choice: {}, lanes: 16 },
    { what: "no more than a subgroup has", cols: 3072, choice: { subgroupSize: 4 }, lanes: 4 },
    { what: "as many as chosen", cols: 3072, choice: { lanes: 64 }, lanes: 64 },
    { what: "as many as chosen, beyond a subgroup", cols: 3072, choice: { lanes: 64, subgroupSize: 32 }, lanes: 64 },
    { what: "no more than there are steps of 32 columns", cols: 576, choice: { lanes: 64 }, lanes: 16 },
    { what: "fewer than by width where so chosen", cols: 3072, choice: { lanes: 8 }, lanes: 8 },
    {
      what: "a thread a row on software adapters, whatever was chosen",
      cols: 3072,
      choice: { software: true, lanes: 64 },
      lanes: 1,
    },
  ])("$what", ({ cols, choice, lanes }) => {
    const mapping = matvecMapping({ ...tier, ...choice }, cols);
    expect(mapping.LANES).toBe(lanes);
    expect(mapping.THREADS).toBe(mapping.LANES * mapping.SLOTS);
    expect(mapping.THREADS).toBeLessThanOrEqual(256);
  });
});
