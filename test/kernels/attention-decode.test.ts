import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attentionDecode, splitLayout } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import type { KvFormat } from "../../kernels/kv-cache";
import { attentionDecode as twin } from "../../kernels/reference/attention-decode";
import { filledCache, headLayout, INT8, KV_FORMATS, uploadCache } from "../../runtime/engine/self-test/caches";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState, TIERS, testGpu } from "./harness";

interface Case {
  name?: string;
  H: number;
  G: number;
  d: number;
  /** Keys, those of the step included. */
  length: number;
  maxTokens: number;
  /** Default 8 bits. */
  format?: KvFormat;
}

/** The worst cases are lengths around the edges of a split and of a chunk (64, 256 keys and one more) and a cache whose tail would overflow if it were read. */
const CASES: Case[] = [
  { name: "one key", H: 4, G: 2, d: 16, length: 1, maxTokens: 64 },
  { name: "sample's heads, 65 keys", H: 9, G: 3, d: 64, length: 65, maxTokens: 128 },
  { name: "a whole split", H: 9, G: 3, d: 64, length: 64, maxTokens: 600 },
  { name: "one short of 4 splits", H: 9, G: 3, d: 64, length: 255, maxTokens: 600 },
  { name: "one more than 4 splits", H: 9, G: 3, d: 64, length: 257, maxTokens: 600 },
  { name: "splits of several chunks, the cache full", H: 6, G: 3, d: 64, length: 8300, maxTokens: 8300 },
  { name: "5 query heads a kv head: a workgroup of their own each", H: 5, G: 1, d: 32, length: 70, maxTokens: 80 },
  { name: "multi-query, 16 heads on one kv head, head size 128", H: 16, G: 1, d: 128, length: 70, maxTokens: 128 },
  { name: "head size 256", H: 2, G: 1, d: 256, length: 40, maxTokens: 64 },
  { name: "head size 80: no power of two", H: 4, G: 2, d: 80, length: 33, maxTokens: 64 },
];

describe.each(Object.entries(TIERS))("attention-decode with attention-merge, %s", (_, options) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu(options);
  });
  afterAll(() => gpu.destroy());

  /** o [tokens, H, d] of the last `tokens` of `length`; programs are recorded for up to `most`. */
  async function run({ H, G, d, length, maxTokens, format = INT8 }: Case, rows: Float32Array, tokens: number, most = tokens) {
    const heads = headLayout(H, G, d);
    const split = splitLayout(gpu.tier, maxTokens);
    const state = stepState(gpu, { position: length - tokens, count: tokens });
    const partialSums = gpu.buffer("partial", 4 * most * H * split.splits * d);
    const stats = gpu.buffer("stats", 8 * most * H * split.splits);
    const o = gpu.buffer("o", 4 * most * H * d, READABLE);
    const kv = uploadCache(gpu, filledCache(G, d, maxTokens, length, format), d);
    await runOnce(gpu, (recorder) => {
      attentionDecode(recorder, { heads, q: gpu.upload("q", rows), kv, state, split, partialSums, stats, tokens: most });
      const merged = { o, oStride: H * d, o8: gpu.buffer("o8", 0), int8: false };
      attentionMerge(recorder, { H, d, split, partialSums, stats, state, ...merged, tokens: most });
    });
    return readFloats(gpu, o);
  }

  it.each(CASES)("$name", async (shape) => {
    const { H, G, d, length, maxTokens } = shape;
    const q = normals(H * d, 1, 3);
    const cache = filledCache(G, d, maxTokens, length);
    expect(nmse(await run(shape, q, 1), twin({ q, cache, H, G, d, length }))).toBeLessThan(1e-10);
  });

  it.each(KV_FORMATS)("keys of $k bits and values of $v", async (format) => {
    for (const { H, G, d, length } of [
      { H: 6, G: 3, d: 64, length: 300 },
      { H: 4, G: 2, d: 80, length: 37 },
    ]) {
      const q = normals(H * d, 1, 3);
      const cache = filledCache(G, d, 320, length, format);
      const actual = await run({ H, G, d, length, maxTokens: 320, format }, q, 1);
      expect(nmse(actual, twin({ q, cache, H, G, d, length }))).toBeLessThan(1e-10);
    }
  });

  it("gives each of 5 tokens the bits that it has alone, and leaves what is beyond the step", async () => {
    const shape = { H: 6, G: 3, d: 64, length: 259, maxTokens: 300 };
    const { stride } = headLayout(shape.H, shape.G, shape.d);
    const width = shape.H * shape.d;
    const rows = normals(5 * stride, 1, 3);
    const together = await run(shape, rows, 5, 8);
    for (let t = 0; t < 5; t++) {
      // The keys after it are there already: a token must not see them.
      const alone = await run({ ...shape, length: shape.length - 4 + t }, rows.subarray(t * stride, (t + 1) * stride), 1);
      expect(together.subarray(t * width, (t + 1) * width)).toEqual(alone);
    }
    expect(together.subarray(5 * width).every((value) => value === 0)).toBe(true);
  });
});
