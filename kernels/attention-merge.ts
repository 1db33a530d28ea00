import shader from "../wgsl/attention-merge.wgsl";
import type { SplitLayout } from "./attention-decode";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "attention-merge",
  shader,
  bindings: { partial_sums: "read", stats: "read", state: "read", o: "write" },
});

export interface AttentionMergeArgs {
  /** Query heads. */
  H: number;
  /** Head size. */
  d: number;
  split: SplitLayout;
  /** f32 [tokens, H, splits, d]. */
  partialSums: GPUBuffer;
  /** vec2 f32 [tokens, H, splits]. */
  stats: GPUBuffer;
  state: GPUBuffer;
  /** f32 [tokens, oStride]. */
  o: GPUBuffer;
  oStride: number;
  tokens: number;
}

/** Merges the splits of attention-decode. Equation in wgsl/attention-merge.wgsl. */
export function attentionMerge(
  recorder: Recorder,
  { H, d, split, partialSums, stats, state, o, oStride, tokens }: AttentionMergeArgs,
): void {
  kernel.record(recorder, {
    overrides: { HEAD_SIZE: d, KEYS: split.keys, SPLITS: split.splits, HEADS: H, O_STRIDE: oStride },
    buffers: { partial_sums: partialSums, stats, state, o },
    workgroups: [H, tokens],
    cost: {
      bytesRead: tokens * H * split.splits * (4 * d + 8),
      bytesWritten: 4 * tokens * H * d,
      multiplyAdds: tokens * H * split.splits * d,
    },
  });
}
