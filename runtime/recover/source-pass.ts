/**
 * The source on the calibration text, once, layer by layer with one layer's weights at a time: what its head reads of each token, which
 * is what distillation aims at, and on the way the closed form of every low-rank term.
 */
import { addMoments, multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS } from "../formats/palettized";
import type { FoldRotations } from "../palettize/fold";
import { breathe, foldedLinears } from "../palettize/layers";
import { inputName } from "../palettize/probe";
import type { InputName, LinearWeights } from "../palettize/token-stream";
import { fitLowRank } from "./closed-form";
import { type Head, headInput } from "./head";
import { layerForward } from "./layer";
import type { LayerTerms } from "./parameters";
import { embedWindow, layerShape } from "./window";

export interface SourcePassOptions {
  /** Token ids of each window; they see each other. */
  windows: readonly (readonly number[])[];
  rotations: FoldRotations;
  /** Of the source, as is the embedding: [V, D] and [D]. */
  head: Head;
  embedding: Float32Array;
  /** Palettized linears in the rotated basis, and where their terms go; absent where terms are known. */
  fit?: { quantized: LinearWeights[]; terms: LayerTerms[]; seed: number; tokens: number };
  onLayer?: (layer: number) => void;
  signal?: AbortSignal;
}

/**
 * `headInput` of each window, [T, D].
 * @throws OchreError MODEL_FORMAT for a weight that is missing, misshapen or not finite; the signal's reason on abort.
 */
export async function sourcePass(source: Checkpoint, config: ModelConfig, options: SourcePassOptions): Promise<Float32Array[]> {
  const { windows, rotations, head, embedding, fit, onLayer, signal } = options;
  const streams = windows.map((ids) => embedWindow(embedding, config.D, rotations.residual, ids));
  let weights = {} as LinearWeights;
  for await (const { layer, linear, weight } of foldedLinears(source, config, rotations, undefined, signal)) {
    weights[linear] = weight;
    if (linear !== LINEARS[LINEARS.length - 1]) continue;
    const moments = fit && emptyMoments(config);
    let tokens = 0;
    for (const [i, ids] of windows.entries()) {
      await breathe(signal);
      const T = ids.length;
      const trace = layerForward(streams[i], layerShape(config, T), (name, input) => multiply(weights[name], input, T));
      if (!fit || !moments || tokens >= fit.tokens) continue;
      addMoments(moments.attention, trace.attentionNorm.y, T);
      addMoments(moments.o_proj, trace.attended.y, T);
      addMoments(moments.mlp, trace.mlpNorm.y, T);
      addMoments(moments.down_proj, trace.hidden, T);
      tokens += T;
    }
    for (const name of fit && moments ? LINEARS : []) {
      await breathe(signal);
      const error = weights[name].map((value, i) => value - fit!.quantized[layer][name][i]);
      fitLowRank(fit!.terms[layer][name], error, moments![inputName(name)], linearShape(config, name)[0], fit!.seed);
    }
    weights = {} as LinearWeights;
    onLayer?.(layer);
  }
  return streams.map((x) => headInput(x, head));
}

const emptyMoments = ({ D, H, d, F }: ModelConfig): Record<InputName, Float32Array> => ({
  attention: new Float32Array(D * D),
  o_proj: new Float32Array((H * d) ** 2),
  mlp: new Float32Array(D * D),
  down_proj: new Float32Array(F * F),
});
