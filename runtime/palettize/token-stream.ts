/** Windows of tokens on their way through a model's plain layers, and what each linear reads of them. */
import { multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { applyRope, attend, LayerCache } from "../engine/reference/attention";
import { ropeTable } from "../engine/rope-table";
import type { LinearName } from "../formats/palettized";

/** [rows, cols] each. */
export type LinearWeights = Record<LinearName, Float32Array>;
/** [D] each. */
export type NormWeights = Record<"input_layernorm" | "post_attention_layernorm", Float32Array>;

/** Inputs that linears share: q, k and v read `attention`, gate and up read `mlp`. */
export type InputName = "attention" | "o_proj" | "mlp" | "down_proj";

/** Rows of `embedding` [V, D] for ids: [tokens, D]. */
export function embedTokens(embedding: Float32Array, D: number, ids: readonly number[]): Float32Array {
  const x = new Float32Array(ids.length * D);
  ids.forEach((id, t) => {
    x.set(embedding.subarray(id * D, (id + 1) * D), t * D);
  });
  return x;
}

export class TokenStream {
  readonly tokens: number;
  private readonly rope: { cos: Float32Array; sin: Float32Array };

  /**
   * @param x Residual stream of all tokens, [tokens, D]. It is kept, and overwritten layer by layer.
   * @param windowTokens Tokens that see each other; the last window may be shorter.
   */
  constructor(
    private readonly config: ModelConfig,
    readonly x: Float32Array,
    private readonly windowTokens: number,
  ) {
    this.tokens = x.length / config.D;
    this.rope = ropeTable(config.rope, config.d, Math.min(this.tokens, windowTokens));
  }

  /**
   * Runs the next layer; the residual stream then stands behind it.
   * @param norms Absent where they are folded into the linears.
   * @param onInput Is shown each input [tokens, cols], before a norm's weight, as folded linears read it.
   */
  run(linears: LinearWeights, norms?: NormWeights, onInput?: (name: InputName, values: Float32Array) => void): void {
    const { tokens, x, config } = this;
    const normed = normalize(x, config);
    const attended = this.attention(linears, norms ? scaled(normed, norms.input_layernorm) : normed);
    onInput?.("attention", normed);
    add(x, multiply(linears["self_attn.o_proj"], attended, tokens));
    onInput?.("o_proj", attended);

    const normedAgain = normalize(x, config);
    const input = norms ? scaled(normedAgain, norms.post_attention_layernorm) : normedAgain;
    const hidden = multiply(linears["mlp.gate_proj"], input, tokens);
    const up = multiply(linears["mlp.up_proj"], input, tokens);
    for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] / (1 + Math.exp(-hidden[i]))) * up[i];
    add(x, multiply(linears["mlp.down_proj"], hidden, tokens));
    onInput?.("mlp", normedAgain);
    onInput?.("down_proj", hidden);
  }

  /** Attention inside each window: [tokens, H d]. */
  private attention(linears: LinearWeights, input: Float32Array): Float32Array {
    const { config, tokens, rope, windowTokens } = this;
    const { G, d } = config;
    const project = (linear: LinearName) => multiply(linears[linear], input, tokens);
    const [q, k, v] = [project("self_attn.q_proj"), project("self_attn.k_proj"), project("self_attn.v_proj")];
    const attended = new Float32Array(q.length);
    for (let first = 0; first < tokens; first += windowTokens) {
      const T = Math.min(windowTokens, tokens - first);
      const rows = (values: Float32Array) => {
        const width = values.length / tokens;
        return values.subarray(first * width, (first + T) * width);
      };
      applyRope(rows(q), T, d, 0, rope);
      applyRope(rows(k), T, d, 0, rope);
      const cache = new LayerCache(G, d, T, "f32");
      cache.write(rows(k), rows(v), T, 0);
      rows(attended).set(attend(rows(q), cache, T, 0));
    }
    return attended;
  }
}

/** x / rms(x) of every token of x [tokens, D]. */
export function normalize(x: Float32Array, { D, normEps }: Pick<ModelConfig, "D" | "normEps">): Float32Array {
  const y = x.slice();
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
  return x.map((value, i) => value * weight[i % weight.length]);
}

function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
