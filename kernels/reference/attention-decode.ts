/**
 * Twin of attention-decode: one token's queries against the n tokens of the cache.
 *
 *   p = softmax_j(q[h] . k[g, j] / sqrt(d)),  o[h] = sum_j p[j] v[g, j],  g = floor(h / (H / G))
 */
import type { KvCache } from "./rope-kv-write";

export interface AttentionDecodeArgs {
  /** [H, d]. */
  q: ArrayLike<number>;
  cache: KvCache;
  H: number;
  G: number;
  d: number;
  /** Tokens to read, this one included: they are in the cache at 0 ... length - 1. */
  length: number;
}

/** [H, d]. */
export function attentionDecode({ q, cache, H, G, d, length }: AttentionDecodeArgs): Float64Array {
  const o = new Float64Array(H * d);
  for (let h = 0; h < H; h++) {
    const g = Math.floor(h / (H / G));
    const row = (j: number) => g * cache.maxTokens + j;
    /** Of column i of key j, or with `value` 2 of its value. */
    const scale = (j: number, value: number, i: number) => cache.scales[4 * row(j) + value + (i < d / 2 ? 0 : 1)];
    const p = new Float64Array(length);
    for (let j = 0; j < length; j++) {
      for (let i = 0; i < d; i++) p[j] += q[h * d + i] * cache.k[row(j) * d + i] * scale(j, 0, i);
      p[j] /= Math.sqrt(d);
    }
    const max = p.reduce((a, b) => Math.max(a, b));
    let sum = 0;
    for (let j = 0; j < length; j++) {
      p[j] = Math.exp(p[j] - max);
      sum += p[j];
    }
    for (let j = 0; j < length; j++) {
      for (let i = 0; i < d; i++) o[h * d + i] += (p[j] / sum) * cache.v[row(j) * d + i] * scale(j, 2, i);
    }
  }
  return o;
}
