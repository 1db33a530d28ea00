import shader from "../wgsl/attention-decode.wgsl";
import { defineKernel, type KernelTier, type Recorder, requireShape } from "./define-kernel";
import { type KvBuffers, kvOverrides, kvTokenBytes } from "./kv-cache";
import type { HeadLayout } from "./rope-kv-write";

const kernel = defineKernel({
  name: "attention-decode",
  shader,
  bindings: {
    q: "read",
    k_cache: "read",
    v_cache: "read",
    kv_scales: "read",
    state: "read",
    partial_sums: "write",
    stats: "write",
  },
});

/** Query heads of a workgroup at most: the columns of a matrix. */
const MOST_QUERIES = 4;

const GPU_THREADS = 64;

/** How a token's keys are cut, by their number, into splits that together occupy the device: wgsl/lib/kv-splits.wgsl. */
export interface SplitLayout {
  /** At most. */
  splits: number;
  /** A split's keys are a multiple of it. */
  unitKeys: number;
}

/** On software adapters an idle workgroup is dear and cores are few. */
export function splitLayout({ software }: KernelTier, maxTokens: number): SplitLayout {
  const unitKeys = 64;
  return { splits: Math.min(Math.ceil(maxTokens / unitKeys), software ? 4 : 32), unitKeys };
}

export interface AttentionDecodeArgs {
  heads: HeadLayout;
  /** f32 [tokens, heads.stride], the rotated queries [H, d] first. */
  q: GPUBuffer;
  kv: KvBuffers;
  state: GPUBuffer;
  split: SplitLayout;
  /** f32 [tokens, H, splits, d]. */
  partialSums: GPUBuffer;
  /** vec2 f32 [tokens, H, splits]. */
  stats: GPUBuffer;
  /** Of the step at most, few: every token reads the cache by itself. */
  tokens: number;
}

/** A few tokens' causal attention over the cache, in splits. Equation in wgsl/attention-decode.wgsl. */
export function attentionDecode(
  recorder: Recorder,
  { heads, q, kv, state, split, partialSums, stats, tokens }: AttentionDecodeArgs,
): void {
  const { H, G, d } = heads;
  requireShape(kernel.name, d % 16 === 0 && d <= 256, `head size must be a multiple of 16 up to 256 but is ${d}.`);
  requireShape(kernel.name, H % G === 0, `query heads must be a multiple of kv heads but are ${H} and ${G}.`);
  const groups = leastDivisor(H / G, (count) => H / G / count <= MOST_QUERIES);
  const queries = H / G / groups;
  const quads = d / 4;
  const threads = recorder.tier.software ? quads : GPU_THREADS;
  const lanes = Math.floor(threads / quads);
  kernel.record(recorder, {
    overrides: {
      ...kvOverrides(kv, d),
      THREADS: threads,
      LANES: lanes,
      QUERIES: queries,
      QUERY_GROUPS: groups,
      KV_HEADS: G,
      STRIDE: heads.stride,
      SPLITS: split.splits,
      UNIT_KEYS: split.unitKeys,
    },
    buffers: { q, k_cache: kv.k, v_cache: kv.v, kv_scales: kv.scales, state, partial_sums: partialSums, stats },
    workgroups: [G * groups, split.splits, tokens],
    cost: {
      bytesRead: tokens * (4 * H * d + groups * G * kv.maxTokens * kvTokenBytes(kv, d)),
      bytesWritten: tokens * H * split.splits * (4 * d + 8),
      multiplyAdds: 2 * tokens * H * kv.maxTokens * d,
    },
  });
}

function leastDivisor(n: number, fits: (divisor: number) => boolean): number {
  let divisor = 1;
  while (n % divisor !== 0 || !fits(divisor)) divisor++;
  return divisor;
}
