/**
 * What a model's linears read: windows of tokens run through it layer by layer, and the second moments of each linear's inputs
 * are measured, in the rotated basis. The tokens are those of a text, or without one random: those excite the few directions in
 * which a small model's activations are huge (and every window's first token, on which attention rests), which is most of what
 * error feedback has to know.
 */
import { addMoments } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import type { LinearName } from "../formats/palettized";
import { rotateVector } from "../formats/rotation";
import { type InputMetric, inputMetric } from "./feedback";
import type { FoldRotations } from "./fold";
import { embedTokens, type InputName, type LinearWeights, type NormWeights, TokenStream } from "./token-stream";

/** Tokens that run through the model. */
export interface ProbeTokens {
  ids: readonly number[];
  /** Tokens that see each other. */
  windowTokens: number;
}

/** What the folded linears of a layer read, by the input that they share. */
export type LayerInputs = Record<InputName, InputMetric>;

/** Uniform over the vocabulary, in windows of 128; the same on every machine. */
export function randomTokens(count: number, V: number, seed: number): ProbeTokens {
  let state = seed;
  const ids = Array.from({ length: count }, () => {
    // A full-period congruential generator (Numerical Recipes).
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * V);
  });
  return { ids, windowTokens: 128 };
}

export function inputName(linear: LinearName): InputName {
  switch (linear) {
    case "self_attn.q_proj":
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return "attention";
    case "self_attn.o_proj":
      return "o_proj";
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return "mlp";
    case "mlp.down_proj":
      return "down_proj";
  }
}

export class Probe {
  private readonly stream: TokenStream;

  /** @param embedding [V, D]; the rows of the tokens are copied. */
  constructor(
    config: ModelConfig,
    private readonly rotations: FoldRotations,
    embedding: Float32Array,
    { ids, windowTokens }: ProbeTokens,
  ) {
    this.stream = new TokenStream(config, embedTokens(embedding, config.D, ids), windowTokens);
  }

  get tokens(): number {
    return this.stream.tokens;
  }

  /** Residual stream of all tokens, [tokens, D], in its own basis. */
  get x(): Float32Array {
    return this.stream.x;
  }

  /** Runs the next layer, its linears and norms as the checkpoint has them, and says what its folded linears read. */
  run(linears: LinearWeights, norms: NormWeights): LayerInputs {
    const { residual, head } = this.rotations;
    const rotations = { attention: residual, o_proj: head, mlp: residual, down_proj: null };
    const inputs = {} as LayerInputs;
    this.stream.run(linears, norms, (name, values) => {
      inputs[name] = metricOf(rotated(values, rotations[name]), this.tokens);
    });
    return inputs;
  }
}

/** Every run of `rotation.size` values rotated, in a copy. */
function rotated(x: Float32Array, rotation: FoldRotations["residual"]): Float32Array {
  if (!rotation) return x;
  const y = x.slice();
  for (let at = 0; at < y.length; at += rotation.size) rotateVector(rotation, y, at);
  return y;
}

/** By the second moments X^T X of x [tokens, cols]. */
export function metricOf(x: Float32Array, tokens: number): InputMetric {
  const cols = x.length / tokens;
  const moments = new Float32Array(cols * cols);
  addMoments(moments, x, tokens);
  return inputMetric(moments, cols);
}
