import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attentionDecode, splitLayout } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionDecode as twin } from "../../kernels/reference/attention-decode";
import { filledCache, headLayout, uploadCache } from "../../runtime/engine/self-test/caches";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst cases are lengths around a split's edge (255, 256, 257 keys) and a cache whose tail would overflow if it were read. */
const CASES = [
  { name: "one key", H: 4, G: 2, d: 16, length: 1, maxTokens: 64 },
  { name: "sample's heads, 65 keys", H: 9, G: 3, d: 64, length: 65, maxTokens: 128 },
  { name: "one short of a split", H: 9, G: 3, d: 64, length: 255, maxTokens: 600 },
  { name: "a whole split", H: 9, G: 3, d: 64, length: 256, maxTokens: 600 },
  { name: "one more than a split", H: 9, G: 3, d: 64, length: 257, maxTokens: 600 },
  { name: "three splits, the cache full", H: 6, G: 3, d: 64, length: 600, maxTokens: 600 },
  { name: "multi-query, 16 heads on one kv head, head size 128", H: 16, G: 1, d: 128, length: 70, maxTokens: 128 },
  { name: "head size 256", H: 2, G: 1, d: 256, length: 40, maxTokens: 64 },
  { name: "head size 80: no power of two", H: 4, G: 2, d: 80, length: 33, maxTokens: 64 },
];

describe("attention-decode with attention-merge", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu();
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ H, G, d, length, maxTokens }) => {
    const heads = headLayout(H, G, d);
    const q = normals(H * d, 1, 3);
    const cache = filledCache(G, d, maxTokens, length);
    const split = splitLayout(gpu.tier, maxTokens, heads);
    const state = stepState(gpu, { position: length - 1 });
    const partialSums = gpu.buffer("partial", 4 * H * split.splits * d);
    const stats = gpu.buffer("stats", 8 * H * split.splits);
    const o = gpu.buffer("o", 4 * H * d, READABLE);
    const kv = uploadCache(gpu, cache);
    await runOnce(gpu, (recorder) => {
      attentionDecode(recorder, { heads, q: gpu.upload("q", q), kv, state, split, partialSums, stats });
      attentionMerge(recorder, { H, d, split, partialSums, stats, state, o });
    });
    expect(nmse(await readFloats(gpu, o), twin({ q, cache, H, G, d, length }))).toBeLessThan(1e-10);
  });
});
