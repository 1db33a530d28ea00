import shader from "../wgsl/attention-decode.wgsl";
import { defineKernel, type KernelTier, type Recorder, requireShape } from "./define-kernel";
import type { HeadLayout, KvBuffers } from "./rope-kv-write";

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

/** Query heads that one workgroup holds at most (registers). */
const MOST_QUERIES = 8;

/** How a cache of `maxTokens` is cut into splits, so that long caches occupy the whole GPU. */
export interface SplitLayout {
  /** Keys of one split. */
  keys: number;
  splits: number;
}

/** Keys a split: 256, or fewer where many query heads share workgroup memory. */
export function splitLayout(tier: KernelTier, maxTokens: number, { H, G, d }: HeadLayout): SplitLayout {
  const queries = queriesPerWorkgroup(H / G);
  const fixedBytes = queries * (4 * d + 4 * 64 + 16 * 64);
  let keys = 256;
  while (keys > 64 && fixedBytes + 4 * queries * keys > tier.workgroupBytes) keys /= 2;
  return { keys, splits: Math.ceil(maxTokens / keys) };
}

function queriesPerWorkgroup(queriesPerKv: number): number {
  let queries = Math.min(queriesPerKv, MOST_QUERIES);
  while (queriesPerKv % queries !== 0) queries--;
  return queries;
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
  const queries = queriesPerWorkgroup(H / G);
  const groups = H / G / queries;
  kernel.record(recorder, {
    overrides: {
      HEAD_SIZE: d,
      QUERIES: queries,
      QUERY_GROUPS: groups,
      KV_HEADS: G,
      STRIDE: heads.stride,
      MAX_TOKENS: kv.maxTokens,
      KEYS: split.keys,
      SPLITS: split.splits,
    },
    buffers: { q, k_cache: kv.k, v_cache: kv.v, kv_scales: kv.scales, state, partial_sums: partialSums, stats },
    workgroups: [G * groups, split.splits, tokens],
    cost: {
      bytesRead: tokens * (4 * H * d + groups * G * kv.maxTokens * 2 * (d + 4)),
      bytesWritten: tokens * H * split.splits * (4 * d + 8),
      multiplyAdds: 2 * tokens * H * kv.maxTokens * d,
    },
  });
}
