import shader from "../wgsl/attention-merge.wgsl";
import type { SplitLayout } from "./attention-decode";
import { defineKernel, type Recorder } from "./define-kernel";
import { int8RowWords } from "./int8-row";

const kernel = defineKernel({
  name: "attention-merge",
  shader,
  bindings: { partial_sums: "read", stats: "read", state: "read", o: "write", o8: "write" },
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
  /** A multiple of 64 where o is written in int8. */
  oStride: number;
  /** int8 rows [tokens, oStride] of o, written where `int8` says so. */
  o8: GPUBuffer;
  int8: boolean;
  tokens: number;
}

/** Merges the splits of attention-decode. Equation in wgsl/attention-merge.wgsl. */
export function attentionMerge(
  recorder: Recorder,
  { H, d, split, partialSums, stats, state, o, oStride, o8, int8, tokens }: AttentionMergeArgs,
): void {
  kernel.record(recorder, {
    overrides: {
      HEAD_SIZE: d,
      SPLITS: split.splits,
      UNIT_KEYS: split.unitKeys,
      HEADS: H,
      O_STRIDE: oStride,
      INT8: Number(int8),
      ROW8_COLS: oStride,
      ROW8_QUADS: d / 4,
    },
    buffers: { partial_sums: partialSums, stats, state, o, o8 },
    workgroups: [H, tokens],
    cost: {
      bytesRead: tokens * H * split.splits * (4 * d + 8),
      bytesWritten: 4 * tokens * (H * d + (int8 ? int8RowWords(oStride) : 0)),
      multiplyAdds: tokens * H * split.splits * d,
    },
  });
}
