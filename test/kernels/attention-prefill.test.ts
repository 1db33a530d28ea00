import { afterAll, beforeAll, describe, it } from "vitest";
import { attentionPrefill } from "../../kernels/attention-prefill";
import { attentionPrefill as twin } from "../../kernels/reference/attention-prefill";
import type { Gpu } from "../../runtime/gpu/device";
import { ATTENTION_CASES, expectAttention } from "./attention-fixture";
import { MATMUL_TIERS, testGpu } from "./harness";

describe.each(MATMUL_TIERS)("attention-prefill, $name", ({ options, gate }) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  it.each(ATTENTION_CASES)("$name", (shape) => expectAttention(gpu, shape, { kernel: attentionPrefill, twin, gate }));
});
