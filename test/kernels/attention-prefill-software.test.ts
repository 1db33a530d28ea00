import { afterAll, beforeAll, describe, it } from "vitest";
import { attentionPrefillSoftware } from "../../kernels/attention-prefill-software";
import { attentionPrefillSoftware as twin } from "../../kernels/reference/attention-prefill-software";
import type { Gpu } from "../../runtime/gpu/device";
import { ATTENTION_CASES, expectAttention } from "./attention-fixture";
import { testGpu } from "./harness";

describe("attention-prefill-software", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(ATTENTION_CASES)("$name", (shape) =>
    expectAttention(gpu, shape, { kernel: attentionPrefillSoftware, twin, gate: 1e-10 }),
  );
});
