/**
 * Twin of attention-merge: joins attention over disjoint parts ("splits") of the cache, the way flash-decoding does.
 *
 *   M = max_s m[s],  o = sum_s exp(m[s] - M) o[s] / sum_s exp(m[s] - M) l[s]
 *
 * A split that saw no token has l = 0 and o = 0; its m is finite and very low.
 */
export interface AttentionMergeArgs {
  /** Largest score of each split, [H, splits]. */
  m: ArrayLike<number>;
  /** Sum of exp(score - m), [H, splits]. */
  l: ArrayLike<number>;
  /** Sum of exp(score - m) v, [H, splits, d]. */
  o: ArrayLike<number>;
  H: number;
  splits: number;
  d: number;
}

/** [H, d]. */
export function attentionMerge({ m, l, o, H, splits, d }: AttentionMergeArgs): Float64Array {
  const merged = new Float64Array(H * d);
  for (let h = 0; h < H; h++) {
    let max = m[h * splits];
    for (let s = 1; s < splits; s++) max = Math.max(max, m[h * splits + s]);
    let sum = 0;
    for (let s = 0; s < splits; s++) {
      const weight = Math.exp(m[h * splits + s] - max);
      sum += weight * l[h * splits + s];
      for (let i = 0; i < d; i++) merged[h * d + i] += weight * o[(h * splits + s) * d + i];
    }
    for (let i = 0; i < d; i++) merged[h * d + i] /= sum;
  }
  return merged;
}
