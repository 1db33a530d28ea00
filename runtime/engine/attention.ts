/** Attention over one layer's cache: in splits for a few tokens, in tiles for many or, on software adapters, a thread a few rows. */
import { attentionDecode } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionPrefill } from "../../kernels/attention-prefill";
import { attentionPrefillSoftware } from "../../kernels/attention-prefill-software";
import { MOST_FEW } from "../../kernels/define-kernel";
import type { StepAt } from "./blocks";

/** `attended` = causal attention of the rotated queries in `qkv` over one layer's cache. */
export function attention({ recorder, step, tokens }: StepAt, layer: number): void {
  const { heads, qkv, state, split, partialSums, stats, attended, attended8, int8, strides } = step;
  const kv = step.kv[layer];
  if (tokens <= MOST_FEW) {
    attentionDecode(recorder, { heads, q: qkv, kv, state, split, partialSums, stats, tokens });
    const o = { o: attended, oStride: strides.attended, o8: attended8, int8 };
    attentionMerge(recorder, { H: heads.H, d: heads.d, split, partialSums, stats, state, ...o, tokens });
  } else {
    const prefill = recorder.tier.software ? attentionPrefillSoftware : attentionPrefill;
    prefill(recorder, { heads, qkv, kv, state, o: attended, oStride: strides.attended, tokens });
  }
}
