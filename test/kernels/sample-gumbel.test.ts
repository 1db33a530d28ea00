import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sampleGumbel as twin } from "../../kernels/reference/sample-gumbel";
import { candidateCount, sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { samplingBuffer } from "../../runtime/engine/self-test/cases-token";
import type { Gpu } from "../../runtime/gpu/device";
import { normals, READABLE, readBytes, runOnce, stepState, testGpu } from "./harness";

/** Samples once at `position` and returns the id that sample-pick chose. */
async function draw(gpu: Gpu, logits: Float32Array, temperature: number, seed: number, position: number): Promise<number> {
  const V = logits.length;
  const state = stepState(gpu, { position: position - 1, count: 1 });
  const sampling = samplingBuffer(gpu, { temperature, seed });
  const best = gpu.buffer("best", 8 * candidateCount(V));
  const results = gpu.buffer("results", 16, READABLE);
  const operands = { logits: gpu.upload("logits", logits), thresholds: gpu.buffer("thresholds", 4) };
  await runOnce(gpu, (recorder) => {
    sampleGumbel(recorder, { ...operands, V, sampling, state, best });
    samplePick(recorder, { best, V, sampling, state, ids: gpu.buffer("ids", 16), results });
  });
  return new Uint32Array(await readBytes(gpu, results))[0];
}

/** The worst case is a tie of the largest logits across workgroups: the lowest id must win whichever finishes first. */
describe("sample-gumbel", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it("temperature 0 is the argmax, the lowest id winning ties", async () => {
    const logits = normals(3000, 1);
    logits[2999] = logits[1500] = logits[1501] = 50;
    expect(await draw(gpu, logits, 0, 7, 1)).toBe(1500);
  });

  it("an argmax in the last, partial workgroup", async () => {
    const logits = normals(2049, 1);
    logits[2048] = 50;
    expect(await draw(gpu, logits, 0, 7, 1)).toBe(2048);
  });

  it("draws what the twin draws, for many seeds and positions", async () => {
    const logits = normals(2500, 3, 2);
    const mismatches = [];
    for (let i = 0; i < 40; i++) {
      const [seed, position] = [i * 7919, 1 + i];
      const expected = twin({ logits, threshold: Number.NEGATIVE_INFINITY, temperature: 0.8, seed, position });
      if ((await draw(gpu, logits, 0.8, seed, position)) !== expected) mismatches.push(i);
    }
    // A driver's log may differ in the last place and swap two candidates that nearly tie.
    expect(mismatches.length).toBeLessThanOrEqual(1);
  });

  it("draws for each row of a step what it draws for that position alone, and none beyond the step", async () => {
    const [V, rows, position, seed] = [2049, 3, 40, 11];
    const stride = 2052;
    const logits = normals(rows * stride, 5, 2);
    const best = gpu.upload("best", new Uint32Array(2 * rows * candidateCount(V)).fill(7), READABLE);
    const thresholds = [-1e30, 1.5, 0].map(Math.fround);
    await runOnce(gpu, (recorder) =>
      sampleGumbel(recorder, {
        logits: gpu.upload("logits", logits),
        V,
        sampling: samplingBuffer(gpu, { temperature: 0.9, seed, topK: 5 }),
        state: stepState(gpu, { position: position - 3, count: 4, row: 2 }),
        thresholds: gpu.upload("thresholds", Float32Array.from(thresholds)),
        best,
        rows,
      }),
    );
    const bytes = await readBytes(gpu, best);
    const [scores, ids] = [new Float32Array(bytes), new Uint32Array(bytes)];
    for (let t = 0; t < rows; t++) {
      const from = t * candidateCount(V);
      const candidates = Array.from({ length: candidateCount(V) }, (_, i) => ({
        score: scores[2 * (from + i)],
        id: ids[2 * (from + i) + 1],
      }));
      if (t === 2) {
        expect(candidates.map(({ id }) => id)).toEqual([7, 7, 7]);
        continue;
      }
      const row = logits.subarray(t * stride, t * stride + V);
      const expected = twin({ logits: row, threshold: thresholds[t], temperature: 0.9, seed, position: position + t });
      expect(candidates.sort((a, b) => b.score - a.score)[0].id).toBe(expected);
    }
  });

  it("frequencies follow the softmax", () => {
    const logits = [0, Math.log(2), Math.log(5)];
    const counts = [0, 0, 0];
    for (let seed = 0; seed < 8000; seed++) counts[twin({ logits, threshold: -10, temperature: 1, seed, position: 3 })]++;
    [1, 2, 5].forEach((weight, i) => {
      expect(Math.abs(counts[i] / 8000 - weight / 8)).toBeLessThan(0.02);
    });
  });
});
