/**
 * Twin of rope-kv-write: rotates q and k by their position and stores k and v as int8.
 *
 *   RoPE, halves paired (Llama's rotate_half), angle a = position * inverse_frequency[i], i < d/2:
 *     y[i]       = x[i] cos(a) - x[i + d/2] sin(a)
 *     y[i + d/2] = x[i + d/2] cos(a) + x[i] sin(a)
 *   int8, one symmetric scale per token and kv head:
 *     amax = max |y|,  scale = f32(amax / 127),  code = round(f32(y * f32(127 / amax)))
 *
 * `round` is to the nearest, halves to even, as in WGSL. A row of zeros has scale 0 and codes 0.
 */
export interface KvCache {
  /** Tokens for which there is room. */
  maxTokens: number;
  /** Codes, [G, maxTokens, d]. */
  k: Int8Array;
  v: Int8Array;
  /** [G, maxTokens, 2]: the scale of k, then that of v. */
  scales: Float32Array;
}

export interface RopeKvWriteArgs {
  /** [T, (H + 2 G) d]: the query heads, the key heads, the value heads. */
  qkv: ArrayLike<number>;
  H: number;
  G: number;
  d: number;
  /** Of the first token. */
  position: number;
  /** [positions, d / 2]. */
  cos: ArrayLike<number>;
  sin: ArrayLike<number>;
  /** Written at position ... position + T - 1. */
  cache: KvCache;
}

/** q after RoPE, [T, H, d]. */
export function ropeKvWrite({ qkv, H, G, d, position, cos, sin, cache }: RopeKvWriteArgs): Float64Array {
  const width = (H + 2 * G) * d;
  const T = qkv.length / width;
  const q = new Float64Array(T * H * d);
  for (let t = 0; t < T; t++) {
    const at = position + t;
    const head = (h: number) => Float64Array.from({ length: d }, (_, i) => qkv[t * width + h * d + i]);
    for (let h = 0; h < H; h++) q.set(rope(head(h), at, cos, sin), (t * H + h) * d);
    for (let g = 0; g < G; g++) {
      const row = g * cache.maxTokens + at;
      cache.scales[2 * row] = quantize(rope(head(H + g), at, cos, sin), cache.k, row * d);
      cache.scales[2 * row + 1] = quantize(head(H + G + g), cache.v, row * d);
    }
  }
  return q;
}

function rope(x: Float64Array, position: number, cos: ArrayLike<number>, sin: ArrayLike<number>): Float64Array {
  const half = x.length / 2;
  const y = new Float64Array(x.length);
  for (let i = 0; i < half; i++) {
    const c = cos[position * half + i];
    const s = sin[position * half + i];
    y[i] = x[i] * c - x[i + half] * s;
    y[i + half] = x[i + half] * c + x[i] * s;
  }
  return y;
}

/** Writes the codes of x from `offset` on and returns their scale. */
export function quantize(x: Float32Array | Float64Array, codes: Int8Array, offset: number): number {
  let amax = 0;
  for (const value of x) amax = Math.max(amax, Math.abs(Math.fround(value)));
  const inverse = amax > 0 ? Math.fround(127 / amax) : 0;
  for (let i = 0; i < x.length; i++) codes[offset + i] = roundHalfToEven(Math.fround(Math.fround(x[i]) * inverse));
  return Math.fround(amax / 127);
}

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
