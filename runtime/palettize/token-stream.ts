/** Windows of tokens on their way through a model's plain layers, and what each linear reads of them. */
import { multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { applyRope } from "../engine/reference/attention";
import { ropeTable } from "../engine/rope-table";
import type { LinearName } from "../formats/palettized";
import { causalAttention } from "./attention";

/** [rows, cols] each. */
export type LinearWeights = Record<LinearName, Float32Array>;
/** [D] each. */
export type NormWeights = Record<"input_layernorm" | "post_attention_layernorm", Float32Array>;

/** Inputs that linears share: q, k and v read `attention`, gate and up read `mlp`. */
export type InputName = "attention" | "o_proj" | "mlp" | "down_proj";

/** The columns of each. */
export const inputWidths = ({ D, H, d, F }: ModelConfig): Record<InputName, number> => ({
  attention: D,
  o_proj: H * d,
  mlp: D,
  down_proj: F,
});

/** Rows of `embedding` [V, D] for ids: [tokens, D]. */
export function embedTokens(embedding: Float32Array, D: number, ids: readonly number[]): Float32Array {
  const x = new Float32Array(ids.length * D);
  ids.forEach((id, t) => {
    x.set(embedding.subarray(id * D, (id + 1) * D), t * D);
  });
  return x;
}

export interface LayerWeights {
  linears: LinearWeights;
  /** Absent where they are folded into the linears. */
  norms?: NormWeights;
}

/**
 * Runs a layer over the residual stream x [tokens, D], which stands behind it then.
 * @param windowTokens Tokens that see each other; the last window may be shorter.
 * @param onInput Is shown each input [tokens, cols], before a norm's weight, as folded linears read it.
 */
export function runLayer(
  config: ModelConfig,
  { linears, norms }: LayerWeights,
  x: Float32Array,
  windowTokens: number,
  onInput?: (name: InputName, values: Float32Array) => void,
): void {
  const tokens = x.length / config.D;
  const normed = normalize(x, config);
  const input = norms ? scaled(normed, norms.input_layernorm) : normed;
  const project = (linear: LinearName) => multiply(linears[linear], input, tokens);
  const [q, k, v] = [project("self_attn.q_proj"), project("self_attn.k_proj"), project("self_attn.v_proj")];
  const attended = attention(config, q, k, v, tokens, windowTokens);
  onInput?.("attention", normed);
  add(x, multiply(linears["self_attn.o_proj"], attended, tokens));
  onInput?.("o_proj", attended);

  const normedAgain = normalize(x, config);
  const mlpInput = norms ? scaled(normedAgain, norms.post_attention_layernorm) : normedAgain;
  const hidden = multiply(linears["mlp.gate_proj"], mlpInput, tokens);
  const up = multiply(linears["mlp.up_proj"], mlpInput, tokens);
  for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] / (1 + Math.exp(-hidden[i]))) * up[i];
  add(x, multiply(linears["mlp.down_proj"], hidden, tokens));
  onInput?.("mlp", normedAgain);
  onInput?.("down_proj", hidden);
}

/** Attention inside each window of q [tokens, H, d], k and v [tokens, G, d]; q and k are overwritten. */
function attention(
  config: ModelConfig,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  tokens: number,
  windowTokens: number,
): Float32Array {
  const rope = ropeTable(config.rope, config.d, Math.min(tokens, windowTokens));
  const attended = new Float32Array(q.length);
  for (let first = 0; first < tokens; first += windowTokens) {
    const T = Math.min(windowTokens, tokens - first);
    const rows = (values: Float32Array) => {
      const width = values.length / tokens;
      return values.subarray(first * width, (first + T) * width);
    };
    applyRope(rows(q), T, config.d, 0, rope);
    applyRope(rows(k), T, config.d, 0, rope);
    rows(attended).set(causalAttention(config, rows(q), rows(k), rows(v)));
  }
  return attended;
}

/** x / rms(x) of every token of x [tokens, D]. */
export function normalize(x: Float32Array, { D, normEps }: Pick<ModelConfig, "D" | "normEps">): Float32Array {
  const y = new Float32Array(x);
  for (let from = 0; from < y.length; from += D) {
    let squares = 0;
    for (let c = from; c < from + D; c++) squares += y[c] ** 2;
    const scale = 1 / Math.sqrt(squares / D + normEps);
    for (let c = from; c < from + D; c++) y[c] *= scale;
  }
  return y;
}

/** Each token of x [tokens, cols] times `weight` [cols]. */
export function scaled(x: Float32Array, weight: Float32Array): Float32Array {
  const y = new Float32Array(x.length);
  for (let i = 0; i < x.length; ) for (let c = 0; c < weight.length; c++, i++) y[i] = x[i] * weight[c];
  return y;
}

function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
