/** Several sequences of a plain model that grow by a token each at every step, so that one pass over the weights serves all of them. */
import { multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { applyRope, attend, LayerCache } from "../engine/reference/attention";
import type { DenseLayer, DenseWeights } from "../engine/reference/weights";
import { ropeTable } from "../engine/rope-table";
import { embedTokens, normalize, scaled } from "./token-stream";

export class BatchDecoder {
  /** Tokens of each sequence. */
  readonly positions: Uint32Array;
  /** [slot][layer] */
  private readonly caches: LayerCache[][];
  private readonly rope: { cos: Float32Array; sin: Float32Array };

  /** Keys and values are kept in f32: 8 bytes for each layer, kv head, column of a head and token. */
  constructor(
    private readonly config: ModelConfig,
    private readonly weights: DenseWeights,
    readonly slots: number,
    readonly maxTokens: number,
  ) {
    const { L, G, d } = config;
    this.positions = new Uint32Array(slots);
    this.caches = Array.from({ length: slots }, () => Array.from({ length: L }, () => new LayerCache(G, d, maxTokens, "f32")));
    this.rope = ropeTable(config.rope, d, maxTokens);
  }

  /** Forgets the sequence of a slot. */
  restart(slot: number): void {
    this.positions[slot] = 0;
  }

  /**
   * Appends ids[s] to sequence s, which must have room. What a sequence gets does not depend on those beside it.
   * @returns logits [slots, V]
   */
  step(ids: readonly number[]): Float32Array {
    const { config, weights, slots, positions } = this;
    const x = embedTokens(weights.embedding, config.D, ids);
    weights.layers.forEach((layer, i) => {
      addTo(x, this.attention(layer, i, x));
      addTo(x, this.mlp(layer, x));
    });
    for (let slot = 0; slot < slots; slot++) positions[slot]++;
    return multiply(weights.head, scaled(normalize(x, config), weights.finalNorm), slots);
  }

  private attention({ linears, inputNorm }: DenseLayer, layer: number, x: Float32Array): Float32Array {
    const { config, slots, positions, rope } = this;
    const input = scaled(normalize(x, config), inputNorm!);
    const q = multiply(linears["self_attn.q_proj"], input, slots);
    const k = multiply(linears["self_attn.k_proj"], input, slots);
    const v = multiply(linears["self_attn.v_proj"], input, slots);
    const attended = new Float32Array(q.length);
    for (let slot = 0; slot < slots; slot++) {
      const row = (values: Float32Array) => values.subarray((slot * values.length) / slots, ((slot + 1) * values.length) / slots);
      const position = positions[slot];
      applyRope(row(q), 1, config.d, position, rope);
      applyRope(row(k), 1, config.d, position, rope);
      const cache = this.caches[slot][layer];
      cache.write(row(k), row(v), 1, position);
      row(attended).set(attend(row(q), cache, 1, position));
    }
    return multiply(linears["self_attn.o_proj"], attended, slots);
  }

  private mlp({ linears, postAttentionNorm }: DenseLayer, x: Float32Array): Float32Array {
    const input = scaled(normalize(x, this.config), postAttentionNorm!);
    const hidden = multiply(linears["mlp.gate_proj"], input, this.slots);
    const up = multiply(linears["mlp.up_proj"], input, this.slots);
    for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] / (1 + Math.exp(-hidden[i]))) * up[i];
    return multiply(linears["mlp.down_proj"], hidden, this.slots);
  }
}

function addTo(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
