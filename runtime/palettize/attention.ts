/** Causal attention as products of matrices, for whole windows of tokens. */
import { multiply, multiplyTransposed } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";

/** Queries of a head that run together: those of a block read no keys behind its last one. */
const BLOCK = 128;

/**
 * softmax(q k^T / sqrt(d)) v, token t reading those up to t.
 * @param q [T, H, d], k and v [T, G, d], turned by RoPE
 * @returns [T, H, d]
 */
export function causalAttention(
  { H, G, d }: Pick<ModelConfig, "H" | "G" | "d">,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
): Float32Array {
  const T = q.length / (H * d);
  const o = new Float32Array(q.length);
  const heads = H / G;
  for (let g = 0; g < G; g++) {
    const keys = gather(k, G * d, g * d, d, 0, T);
    const values = gather(v, G * d, g * d, d, 0, T);
    for (let first = 0; first < T; first += BLOCK) {
      const behind = Math.min(T, first + BLOCK);
      const n = behind - first;
      // All heads that read these keys: [heads, n, d].
      const queries = new Float32Array(heads * n * d);
      for (let h = 0; h < heads; h++) queries.set(gather(q, H * d, (g * heads + h) * d, d, first, behind), h * n * d);
      const weights = multiply(keys.subarray(0, behind * d), queries, heads * n);
      for (let row = 0; row < heads * n; row++) {
        softmax(weights.subarray(row * behind, (row + 1) * behind), first + (row % n) + 1, 1 / Math.sqrt(d));
      }
      const sums = multiplyTransposed(values.subarray(0, behind * d), weights, heads * n);
      for (let row = 0; row < heads * n; row++) {
        const head = g * heads + Math.floor(row / n);
        o.set(sums.subarray(row * d, (row + 1) * d), ((first + (row % n)) * H + head) * d);
      }
    }
  }
  return o;
}

/** The columns left ..< left + n of the rows from ..< to, [to - from, n]. */
function gather(x: Float32Array, width: number, left: number, n: number, from: number, to: number): Float32Array {
  const rows = new Float32Array((to - from) * n);
  for (let t = from; t < to; t++) rows.set(x.subarray(t * width + left, t * width + left + n), (t - from) * n);
  return rows;
}

/** Of the first `length` scores times `scale`, in place; the others become 0. */
function softmax(scores: Float32Array, length: number, scale: number): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < length; i++) if (scores[i] > max) max = scores[i];
  let total = 0;
  for (let i = 0; i < length; i++) {
    const weight = Math.exp((scores[i] - max) * scale);
    scores[i] = weight;
    total += weight;
  }
  for (let i = 0; i < length; i++) scores[i] /= total;
  scores.fill(0, length);
}
