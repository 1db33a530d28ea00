import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sampleThreshold as twin } from "../../kernels/reference/sample-threshold";
import { sampleThreshold } from "../../kernels/sample-threshold";
import { samplingBuffer } from "../../runtime/engine/self-test/cases-token";
import type { Gpu } from "../../runtime/gpu/device";
import { normals, padRows, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

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
  { name: "all equal", V: 300, topK: 7, topP: 0.5, spread: 0 },
  { name: "a vocabulary that is no multiple of 4", V: 1001, topK: 900, topP: 0.99 },
  { name: "the sample's vocabulary", V: 49152, topK: 40, topP: 0.95, temperature: 0.8 },
];

/** Ids that stay above a cut. */
const kept = (logits: Float32Array, cut: number) => [...logits.keys()].filter((id) => logits[id] >= cut);

describe("sample-threshold", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ V, ties, shift = 0, spread = 3, temperature = 1, topK = 0, topP = 1, minP = 0 }) => {
    const logits = normals(V, 9, spread).map((value) => (ties ? Math.round(value) : value) + shift);
    const thresholds = gpu.buffer("thresholds", 4, READABLE);
    await runOnce(gpu, (recorder) =>
      sampleThreshold(recorder, {
        logits: gpu.upload("logits", padRows(logits, 1, V, 4 * Math.ceil(V / 4))),
        V,
        sampling: samplingBuffer(gpu, { temperature, topK, topP, minP }),
        state: stepState(gpu, {}),
        thresholds,
      }),
    );
    const [threshold] = await readFloats(gpu, thresholds);
    const expected = twin({ logits, temperature, topK, topP, minP });
    expect(kept(logits, threshold)).toEqual(kept(logits, expected));
  });

  it("cuts each row of a step by itself, and none beyond the step", async () => {
    const [V, stride, cuts] = [1001, 1004, { temperature: 0.7, topK: 50, topP: 0.9 }];
    const logits = normals(3 * stride, 4, 3);
    const thresholds = gpu.upload("thresholds", new Float32Array(3).fill(77), READABLE);
    await runOnce(gpu, (recorder) =>
      sampleThreshold(recorder, {
        logits: gpu.upload("logits", logits),
        V,
        sampling: samplingBuffer(gpu, cuts),
        state: stepState(gpu, { count: 4, row: 2 }),
        thresholds,
        rows: 3,
      }),
    );
    const found = await readFloats(gpu, thresholds);
    for (let t = 0; t < 2; t++) {
      const row = logits.subarray(t * stride, t * stride + V);
      expect(kept(row, found[t])).toEqual(kept(row, twin({ logits: row, ...cuts })));
    }
    expect(found[2]).toBe(77);
  });
});
