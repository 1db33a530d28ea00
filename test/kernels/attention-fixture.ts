/** What the kernels for attention of many tokens are tested with. */
import { expect } from "vitest";
import type { attentionPrefill } from "../../kernels/attention-prefill";
import type { KvFormat } from "../../kernels/kv-cache";
import type { attentionPrefill as attentionPrefillTwin } from "../../kernels/reference/attention-prefill";
import { filledCache, headLayout, INT8, KV_FORMATS, uploadCache } from "../../runtime/engine/self-test/caches";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readFloats, runOnce, stepState } from "./harness";

export interface AttentionCase {
  name: string;
  T: number;
  H: number;
  G: number;
  d: number;
  position: number;
  format: KvFormat;
}

/** The worst case is a chunk that starts in mid-cache: rows of one tile then end at different keys of a tile. */
const SHAPES = [
  { name: "one token", T: 1, H: 4, G: 2, d: 16, position: 0 },
  { name: "sample's heads from the start", T: 37, H: 9, G: 3, d: 64, position: 0 },
  { name: "a chunk after 50 tokens", T: 21, H: 9, G: 3, d: 64, position: 50 },
  { name: "head size 128, multi-query", T: 19, H: 4, G: 1, d: 128, position: 3 },
  { name: "head size 80", T: 9, H: 2, G: 2, d: 80, position: 30 },
];

export const ATTENTION_CASES: readonly AttentionCase[] = [
  ...SHAPES.map((shape) => ({ ...shape, format: INT8 })),
  ...KV_FORMATS.map((format) => ({ ...SHAPES[2], name: `keys of ${format.k} bits and values of ${format.v}`, format })),
];

/** Runs a step of T tokens in a program for 4 more, whose rows of o must stay as they are. `o` is full of what must not count. */
export async function expectAttention(
  gpu: Gpu,
  { T, H, G, d, position, format }: AttentionCase,
  { kernel, twin, gate }: { kernel: typeof attentionPrefill; twin: typeof attentionPrefillTwin; gate: number },
): Promise<void> {
  const heads = headLayout(H, G, d);
  const maxTokens = position + T + 5;
  const rows = normals((T + 4) * heads.stride, 1, 2);
  const q = new Float32Array(T * H * d);
  for (let t = 0; t < T; t++) q.set(rows.subarray(t * heads.stride, t * heads.stride + H * d), t * H * d);
  const cache = filledCache(G, d, maxTokens, position + T, format);
  const oStride = 64 * Math.ceil((H * d) / 64);
  const o = gpu.upload("o", new Float32Array((T + 4) * oStride).fill(7), READABLE);
  await runOnce(gpu, (recorder) =>
    kernel(recorder, {
      heads,
      qkv: gpu.upload("qkv", rows),
      kv: uploadCache(gpu, cache, d),
      state: stepState(gpu, { position, count: T }),
      o,
      oStride,
      tokens: T + 4,
    }),
  );
  const all = await readFloats(gpu, o);
  const actual = new Float32Array(T * H * d);
  for (let t = 0; t < T; t++) actual.set(all.subarray(t * oStride, t * oStride + H * d), t * H * d);
  expect(nmse(actual, twin({ q, cache, H, G, d, position }))).toBeLessThan(gate);
  expect(all.subarray(T * oStride).every((value) => value === 7)).toBe(true);
}
