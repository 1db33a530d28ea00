/**
 * What a model's linears read, without any text: sequences of random tokens run through it layer by layer, and the second
 * moments of each linear's inputs are measured. Random tokens excite the few directions in which a small model's activations are
 * huge (and every sequence's first token, on which attention rests), which is most of what error feedback has to know.
 */
import type { ModelConfig } from "../engine/config";
import { applyRope, attend, LayerCache } from "../engine/reference/attention";
import { multiply } from "../engine/reference/linear";
import { ropeTable } from "../engine/rope-table";
import type { LinearName } from "../formats/palettized";
import { rotateVector } from "../formats/rotation";
import { type InputMetric, inputMetric } from "./feedback";
import type { FoldRotations } from "./fold";

/** Tokens of one sequence. */
const SEQUENCE_TOKENS = 128;

/** [rows, cols] each, as the checkpoint has them. */
export type LinearWeights = Record<LinearName, Float32Array>;
/** [D] each. */
export type NormWeights = Record<"input_layernorm" | "post_attention_layernorm", Float32Array>;

/** What the folded linears of a layer read, by the input that they share. */
export interface LayerInputs {
  /** q_proj, k_proj, v_proj */
  attention: InputMetric;
  o_proj: InputMetric;
  /** gate_proj, up_proj */
  mlp: InputMetric;
  down_proj: InputMetric;
}

export function inputsOf(layer: LayerInputs, linear: LinearName): InputMetric {
  switch (linear) {
    case "self_attn.q_proj":
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return layer.attention;
    case "self_attn.o_proj":
      return layer.o_proj;
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return layer.mlp;
    case "mlp.down_proj":
      return layer.down_proj;
  }
}

export class Probe {
  /** Residual stream of all tokens, [tokens, D], in its own basis. */
  readonly x: Float32Array;
  private readonly rope: { cos: Float32Array; sin: Float32Array };

  /**
   * @param embedding [V, D]; the rows of the random tokens are copied.
   * @param tokens In whole sequences of 128 where there are more.
   */
  constructor(
    private readonly config: ModelConfig,
    private readonly rotations: FoldRotations,
    embedding: Float32Array,
    private readonly tokens: number,
  ) {
    const { V, D, rope, d } = config;
    this.x = new Float32Array(tokens * D);
    for (let t = 0, id = 1; t < tokens; t++) {
      // A full-period congruential generator (Numerical Recipes): the same tokens on every machine.
      id = (Math.imul(id, 1664525) + 1013904223) >>> 0;
      const row = Math.floor((id / 2 ** 32) * V) * D;
      this.x.set(embedding.subarray(row, row + D), t * D);
    }
    this.rope = ropeTable(rope, d, Math.min(tokens, SEQUENCE_TOKENS));
  }

  /** Runs the next layer and says what its linears read; the residual stream then stands behind it. */
  run(linears: LinearWeights, norms: NormWeights): LayerInputs {
    const { tokens, x, rotations } = this;
    const normed = this.normalize();
    const attended = this.attention(linears, scaled(normed, norms.input_layernorm));
    const attention = metricOf(rotated(normed, rotations.residual), tokens);
    add(x, multiply(linears["self_attn.o_proj"], attended, tokens));
    const o_proj = metricOf(rotated(attended, rotations.head), tokens);

    const normedAgain = this.normalize();
    const input = scaled(normedAgain, norms.post_attention_layernorm);
    const hidden = multiply(linears["mlp.gate_proj"], input, tokens);
    const up = multiply(linears["mlp.up_proj"], input, tokens);
    for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] / (1 + Math.exp(-hidden[i]))) * up[i];
    add(x, multiply(linears["mlp.down_proj"], hidden, tokens));
    return {
      attention,
      o_proj,
      mlp: metricOf(rotated(normedAgain, rotations.residual), tokens),
      down_proj: metricOf(hidden, tokens),
    };
  }

  /** x / rms(x) of every token. */
  private normalize(): Float32Array {
    const { D, normEps } = this.config;
    const y = this.x.slice();
    for (let from = 0; from < y.length; from += D) {
      let squares = 0;
      for (let c = from; c < from + D; c++) squares += y[c] ** 2;
      const scale = 1 / Math.sqrt(squares / D + normEps);
      for (let c = from; c < from + D; c++) y[c] *= scale;
    }
    return y;
  }

  /** Attention inside each sequence: [tokens, H d]. */
  private attention(linears: LinearWeights, input: Float32Array): Float32Array {
    const { config, tokens, rope } = this;
    const { G, d } = config;
    const project = (linear: LinearName) => multiply(linears[linear], input, tokens);
    const [q, k, v] = [project("self_attn.q_proj"), project("self_attn.k_proj"), project("self_attn.v_proj")];
    const attended = new Float32Array(q.length);
    for (let first = 0; first < tokens; first += SEQUENCE_TOKENS) {
      const T = Math.min(SEQUENCE_TOKENS, tokens - first);
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

function scaled(x: Float32Array, weight: Float32Array): Float32Array {
  return x.map((value, i) => value * weight[i % weight.length]);
}

/** A copy with every run of `rotation.size` values rotated. */
function rotated(x: Float32Array, rotation: FoldRotations["residual"]): Float32Array {
  const y = x.slice();
  if (rotation) for (let at = 0; at < y.length; at += rotation.size) rotateVector(rotation, y, at);
  return y;
}

function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

/** By the second moments X^T X of x [tokens, cols]. */
function metricOf(x: Float32Array, tokens: number): InputMetric {
  const cols = x.length / tokens;
  const transposed = new Float32Array(x.length);
  for (let t = 0; t < tokens; t++) for (let c = 0; c < cols; c++) transposed[c * tokens + t] = x[t * cols + c];
  return inputMetric(multiply(transposed, transposed, cols), cols);
}
