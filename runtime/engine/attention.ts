/** Attention over one layer's cache: in splits for one token, in tiles for many. */
import { attentionDecode } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionPrefill } from "../../kernels/attention-prefill";
import type { StepAt } from "./blocks";

/** `attended` = causal attention of the rotated queries in `qkv` over one layer's cache. */
export function attention({ recorder, step, tokens }: StepAt, layer: number): void {
  const { heads, qkv, state, split, partialSums, stats, attended, strides } = step;
  const kv = step.kv[layer];
  if (tokens === 1) {
    attentionDecode(recorder, { heads, q: qkv, kv, state, split, partialSums, stats });
    attentionMerge(recorder, { H: heads.H, d: heads.d, split, partialSums, stats, state, o: attended });
  } else {
    attentionPrefill(recorder, { heads, qkv, kv, state, o: attended, oStride: strides.attended, tokens });
  }
}
