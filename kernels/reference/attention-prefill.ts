/**
 * Twin of attention-prefill: T tokens at position ... position + T - 1, each reading the cache up to itself.
 *
 *   o[t] = attention_decode(q[t], cache[0 ... position + t])
 */
import { attentionDecode } from "./attention-decode";
import type { KvCache } from "./rope-kv-write";

export interface AttentionPrefillArgs {
  /** [T, H, d]. */
  q: Float32Array | Float64Array;
  cache: KvCache;
  H: number;
  G: number;
  d: number;
  /** Of the first token; all T are already in the cache. */
  position: number;
}

/** [T, H, d]. */
export function attentionPrefill({ q, cache, H, G, d, position }: AttentionPrefillArgs): Float64Array {
  const o = new Float64Array(q.length);
  for (let t = 0; t < q.length / (H * d); t++) {
    const queries = q.subarray(t * H * d, (t + 1) * H * d);
    o.set(attentionDecode({ q: queries, cache, H, G, d, length: position + t + 1 }), t * H * d);
  }
  return o;
}
