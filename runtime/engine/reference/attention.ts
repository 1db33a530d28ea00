/** RoPE, the KV cache and attention of the reference model, all f32 in memory and f64 in sums. */
import { hadamard, type KvBits, quantize } from "../../../kernels/reference/rope-kv-write";

/** How keys and values are kept: as they are, or rounded to what the GPU's cache of as many bits would give back. */
export type KvPrecision = "f32" | { k: KvBits; v: KvBits };

/** Keys and values of one layer. */
export class LayerCache {
  /** [G, maxTokens, d]. */
  readonly k: Float32Array;
  readonly v: Float32Array;

  constructor(
    readonly G: number,
    readonly d: number,
    readonly maxTokens: number,
    readonly precision: KvPrecision,
  ) {
    this.k = new Float32Array(G * maxTokens * d);
    this.v = new Float32Array(G * maxTokens * d);
  }

  /** Stores k and v, each [T, G, d], at position ... position + T - 1. */
  write(k: Float32Array, v: Float32Array, T: number, position: number): void {
    const { G, d } = this;
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const from = (t * G + g) * d;
        const to = (g * this.maxTokens + position + t) * d;
        this.k.set(this.storedKey(k.subarray(from, from + d)), to);
        this.v.set(this.storedValue(v.subarray(from, from + d)), to);
      }
  }

  /** A key of 4 bits is rounded in Hadamard's basis, and stored turned back: the GPU turns the query instead. */
  private storedKey(row: Float32Array): Float32Array {
    if (this.precision === "f32") return row;
    if (this.precision.k !== 4) return rounded(row, this.precision.k);
    const turned = row.slice();
    hadamard(turned);
    const stored = rounded(turned, 4);
    hadamard(stored);
    return stored;
  }

  private storedValue(row: Float32Array): Float32Array {
    return this.precision === "f32" ? row : rounded(row, this.precision.v);
  }
}

function rounded(row: Float32Array, bits: KvBits): Float32Array {
  const codes = new Float32Array(row.length);
  const scales = quantize(row, bits, codes, 0);
  return codes.map((code, i) => code * scales[i < row.length / 2 ? 0 : 1]);
}

/** In place on x [T, heads, d]: pairs (i, i + d/2) of each head turn by their position's angle. */
export function applyRope(
  x: Float32Array,
  T: number,
  d: number,
  position: number,
  table: { cos: Float32Array; sin: Float32Array },
) {
  const half = d / 2;
  const width = x.length / T;
  for (let t = 0; t < T; t++)
    for (let head = t * width; head < (t + 1) * width; head += d)
      for (let i = 0; i < half; i++) {
        const cos = table.cos[(position + t) * half + i];
        const sin = table.sin[(position + t) * half + i];
        const a = x[head + i];
        const b = x[head + i + half];
        x[head + i] = a * cos - b * sin;
        x[head + i + half] = b * cos + a * sin;
      }
}

/** softmax(q k^T / sqrt(d)) v for q [T, H, d], token t reading the cache up to position + t: [T, H, d]. */
export function attend(q: Float32Array, { k, v, G, d, maxTokens }: LayerCache, T: number, position: number): Float32Array {
  const H = q.length / (T * d);
  const o = new Float32Array(q.length);
  const scores = new Float64Array(position + T);
  const sums = new Float64Array(d);
  for (let t = 0; t < T; t++)
    for (let h = 0; h < H; h++) {
      const length = position + t + 1;
      const query = (t * H + h) * d;
      const base = Math.floor(h / (H / G)) * maxTokens * d;
      let max = Number.NEGATIVE_INFINITY;
      for (let j = 0; j < length; j++) {
        const key = base + j * d;
        let even = 0;
        let odd = 0;
        for (let i = 0; i < d; i += 2) {
          even += q[query + i] * k[key + i];
          odd += q[query + i + 1] * k[key + i + 1];
        }
        scores[j] = (even + odd) / Math.sqrt(d);
        if (scores[j] > max) max = scores[j];
      }
      sums.fill(0);
      let total = 0;
      for (let j = 0; j < length; j++) {
        const weight = Math.exp(scores[j] - max);
        const value = base + j * d;
        total += weight;
        for (let i = 0; i < d; i++) sums[i] += weight * v[value + i];
      }
      for (let i = 0; i < d; i++) o[query + i] = sums[i] / total;
    }
  return o;
}
