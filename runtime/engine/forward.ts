/**
 * The transformer (Llama: arXiv 2302.13971), recorded once for a number of tokens and replayed. Nothing here knows of bits:
 * palettes live in the linears, the cache's quantization in its kernels.
 *
 * T tokens of the step, D residual width, H query heads, G kv heads, d head size, F MLP width, V vocabulary.
 */
import type { AdapterBuffers } from "../../kernels/adapter-terms";
import type { Recorder } from "../../kernels/define-kernel";
import { ropeKvWrite } from "../../kernels/rope-kv-write";
import { unrotateNorm } from "../../kernels/unrotate-norm";
import { attention } from "./attention";
import { applyHead, embed } from "./blocks";
import type { ModelConfig } from "./config";
import { linear, swigluLinear } from "./linear";
import type { StepBuffers } from "./step-buffers";
import type { ModelWeights } from "./weights";

/** T tokens through all layers: reads `ids`, appends to the cache, leaves the residual stream in `x`. */
export function forward(
  recorder: Recorder,
  config: ModelConfig,
  weights: ModelWeights,
  step: StepBuffers,
  tokens: number,
  adapters?: AdapterBuffers,
): void {
  const { state, x, x8, qkv, attended, attended8, hidden, hidden8, heads, kv, cosSin, strides } = step;
  const norm = { eps: config.normEps, cols: config.D };
  const residual = { y: x, y8: x8, yStride: strides.x, add: true };
  const mlp = { y: hidden, y8: hidden8, yStride: strides.hidden };
  const at = { recorder, step, tokens, adapted: adapters && { config, adapters } };

  embed(at, weights); //                                                                                                [T, D]
  for (const [layer, linears] of weights.layers.entries()) {
    const here = { ...at, layer, linears };
    linear(here, "qkv_proj", { x, x8, xStride: strides.x, y: qkv, yStride: strides.qkv, norm }); //              [T, (H + 2G) d]
    ropeKvWrite(recorder, { heads, qkv, cosSin, state, kv: kv[layer], tokens }); //                         cache [G, length, d]
    attention(at, layer); //                                                                                            [T, H d]
    linear(here, "o_proj", { x: attended, x8: attended8, xStride: strides.attended, ...residual }); //                    [T, D]
    swigluLinear(here, "gate_up_proj", { x, x8, xStride: strides.x, ...mlp, norm }); //                                   [T, F]
    linear(here, "down_proj", { x: hidden, x8: hidden8, xStride: strides.hidden, ...residual }); //                       [T, D]
  }
}

/** Logits of the step's row, or of at most `rows` from there on: final norm, back to the embedding's basis, head. */
export function head(recorder: Recorder, config: ModelConfig, weights: ModelWeights, step: StepBuffers, rows = 1): void {
  const { state, x, last, strides } = step;
  const { rotation, norm: normWeight } = weights;
  const norm = { normWeight, eps: config.normEps };
  unrotateNorm(recorder, { x, stride: strides.x, D: config.D, rotation, ...norm, state, y: last, rows }); //           [rows, D]
  applyHead({ recorder, step, tokens: rows }, weights.head); //                                                        [rows, V]
}
