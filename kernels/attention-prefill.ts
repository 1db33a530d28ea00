import shader from "../wgsl/attention-prefill.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { type KvBuffers, kvOverrides, kvTokenBytes } from "./kv-cache";
import type { HeadLayout } from "./rope-kv-write";

const kernel = defineKernel({
  name: "attention-prefill",
  shader,
  bindings: { qkv: "read", k_cache: "read", v_cache: "read", kv_scales: "read", state: "read", o: "write" },
});

/** Query rows (tokens x query heads of a kv head) of one workgroup. */
const ROWS = 16;

export interface AttentionPrefillArgs {
  heads: HeadLayout;
  /** f32 [tokens, heads.stride], queries rotated. */
  qkv: GPUBuffer;
  kv: KvBuffers;
  state: GPUBuffer;
  /** f32 [tokens, oStride]. */
  o: GPUBuffer;
  oStride: number;
  tokens: number;
}

/** Causal attention of a prefill step over the cache that already holds its keys. Equation in wgsl/attention-prefill.wgsl. */
export function attentionPrefill(recorder: Recorder, { heads, qkv, kv, state, o, oStride, tokens }: AttentionPrefillArgs): void {
  const { H, G, d, stride } = heads;
  requireShape(kernel.name, d % 16 === 0 && d <= 256, `head size must be a multiple of 16 up to 256 but is ${d}.`);
  requireShape(kernel.name, H % G === 0, `query heads must be a multiple of kv heads but are ${H} and ${G}.`);
  const elementBytes = recorder.tier.f16 ? 2 : 4;
  const bytes = (keys: number) => elementBytes * (ROWS * d + keys * (d + 4)) + 4 * ROWS * keys;
  const keys = [32, 16, 8].find((k) => bytes(k) <= recorder.tier.workgroupBytes) ?? 4;
  const tiles = Math.ceil((tokens * (H / G)) / ROWS);
  kernel.record(recorder, {
    overrides: { ...kvOverrides(kv, d), QUERIES: H / G, STRIDE: stride, O_STRIDE: oStride, KEYS: keys },
    buffers: { qkv, k_cache: kv.k, v_cache: kv.v, kv_scales: kv.scales, state, o },
    workgroups: [tiles, G],
    cost: {
      bytesRead: 4 * tokens * H * d + tiles * G * kv.maxTokens * kvTokenBytes(kv, d),
      bytesWritten: 4 * tokens * H * d,
      multiplyAdds: 2 * tokens * H * kv.maxTokens * d,
    },
  });
}
