import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sampleThreshold as twin } from "../../kernels/reference/sample-threshold";
import { sampleThreshold } from "../../kernels/sample-threshold";
import { samplingBuffer } from "../../runtime/engine/self-test/cases-token";
import type { Gpu } from "../../runtime/gpu/device";
import { normals, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst case is a tie at the edge of top-k: tied tokens are all kept, none in their place dropped. */
const CASES = [
  { name: "top-k", V: 1000, topK: 40 },
  { name: "top-k 1", V: 1000, topK: 1 },
  { name: "top-k beyond the vocabulary", V: 100, topK: 500 },
  { name: "top-p", V: 1000, topP: 0.9 },
  { name: "top-p, cold", V: 1000, topP: 0.5, temperature: 0.3 },
  { name: "top-p so small that one token is kept", V: 1000, topP: 1e-6 },
  { name: "min-p", V: 1000, minP: 0.1 },
  { name: "all three", V: 5000, topK: 200, topP: 0.8, minP: 0.05, temperature: 1.7 },
  { name: "ties at the edge", V: 300, topK: 5, ties: true },
  { name: "negative logits", V: 300, topK: 7, shift: -500 },
];

describe("sample-threshold", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ V, ties, shift = 0, temperature = 1, topK = 0, topP = 1, minP = 0 }) => {
    const logits = normals(V, 9, 3).map((value) => (ties ? Math.round(value) : value) + shift);
    const state = stepState(gpu, {});
    await runOnce(gpu, (recorder) =>
      sampleThreshold(recorder, {
        logits: gpu.upload("logits", logits),
        V,
        sampling: samplingBuffer(gpu, { temperature, topK, topP, minP }),
        state,
      }),
    );
    const threshold = (await readFloats(gpu, state))[6];
    const expected = twin({ logits, temperature, topK, topP, minP });
    const kept = (cut: number) => [...logits.keys()].filter((id) => logits[id] >= cut);
    expect(kept(threshold)).toEqual(kept(expected));
  });
});
