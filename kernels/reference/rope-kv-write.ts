/**
 * Twin of rope-kv-write: rotates q and k by their position and stores k and v in 16, 8 or 4 bits.
 *
 *   RoPE, halves paired (Llama's rotate_half), angle a = position * inverse_frequency[i], i < d/2:
 *     y[i]       = x[i] cos(a) - x[i + d/2] sin(a)
 *     y[i + d/2] = x[i + d/2] cos(a) + x[i] sin(a)
 *   q and k then times an orthonormal Hadamard matrix where k has 4 bits
 *   16 bits: round_to_f16(y), scale = 1
 *   8 bits, one symmetric scale per token and kv head:
 *     amax = max |y|,  scale = f32(amax / 127),  code = round(f32(y * f32(127 / amax)))
 *   4 bits, a scale for each half of a head's columns:
 *     code = the level nearest to f32(y * f32(1 / scale)), of two the one farther from 0
 *     level(code) = c + 3/512 c^3, c = code - 7.5: close together where most of a Gaussian's values are
 *     scale = that of amax * n / 256, n = 21 ... 26, cut to f16, which leaves the least squared error; of two the smaller
 *
 * `round` is to the nearest, halves to even, as in WGSL. A row of zeros has scale 0.
 */
export type KvBits = 16 | 8 | 4;

const CUBE = 3 / 512;

/** What each code of 4 bits stands for; all are exact in f32. */
export const LEVELS: readonly number[] = Array.from({ length: 16 }, (_, code) => {
  const c = code - 7.5;
  return c + CUBE * c ** 3;
});
/** Half-way between the positive levels, seven, exact in f32. */
const BORDERS = Array.from({ length: 7 }, (_, k) => (LEVELS[8 + k] + LEVELS[9 + k]) / 2);

export interface KvCache {
  /** Tokens for which there is room. */
  maxTokens: number;
  format: { k: KvBits; v: KvBits };
  /** [G, maxTokens, d]; value = scale * what stands here: f16 values, codes of 8 bits, levels of codes of 4 bits. */
  k: Float32Array;
  v: Float32Array;
  /** [G, maxTokens, 4]: of the two halves of k, then of v; the same twice for 8 bits, 1 for 16. */
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

/** q after RoPE (and Hadamard, where keys have 4 bits), [T, H, d]. */
export function ropeKvWrite({ qkv, H, G, d, position, cos, sin, cache }: RopeKvWriteArgs): Float64Array {
  const width = (H + 2 * G) * d;
  const T = qkv.length / width;
  const q = new Float64Array(T * H * d);
  const { k, v } = cache.format;
  for (let t = 0; t < T; t++) {
    const at = position + t;
    const head = (h: number) => Float64Array.from({ length: d }, (_, i) => qkv[t * width + h * d + i]);
    const turned = (h: number) => {
      const y = rope(head(h), at, cos, sin);
      if (k === 4) hadamard(y);
      return y;
    };
    for (let h = 0; h < H; h++) q.set(turned(h), (t * H + h) * d);
    for (let g = 0; g < G; g++) {
      const row = g * cache.maxTokens + at;
      cache.scales.set(quantize(turned(H + g), k, cache.k, row * d), 4 * row);
      cache.scales.set(quantize(head(H + G + g), v, cache.v, row * d), 4 * row + 2);
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

/** In place: blocks of the largest power of two that divides the length, each times its orthonormal Walsh-Hadamard matrix. */
export function hadamard(x: Float32Array | Float64Array): void {
  const n = x.length & -x.length;
  for (let step = 1; step < n; step *= 2)
    for (let i = 0; i < x.length; i++) {
      if (i & step) continue;
      const [a, b] = [x[i], x[i + step]];
      x[i] = (a + b) * Math.SQRT1_2;
      x[i + step] = (a - b) * Math.SQRT1_2;
    }
}

/** Writes what stands for x from `offset` on and returns the scales of its two halves. */
export function quantize(
  x: Float32Array | Float64Array,
  bits: KvBits,
  codes: Float32Array,
  offset: number,
): [low: number, high: number] {
  if (bits === 16) {
    codes.set(Float32Array.from(x, roundToHalf), offset);
    return [1, 1];
  }
  if (bits === 4) {
    const half = x.length / 2;
    return [quantizeHalf(x.subarray(0, half), codes, offset), quantizeHalf(x.subarray(half), codes, offset + half)];
  }
  const amax = largestOf(x);
  const inverse = amax > 0 ? Math.fround(127 / amax) : 0;
  for (let i = 0; i < x.length; i++) codes[offset + i] = roundHalfToEven(Math.fround(Math.fround(x[i]) * inverse));
  const scale = Math.fround(amax / 127);
  return [scale, scale];
}

/** 4 bits. */
function quantizeHalf(x: Float32Array | Float64Array, codes: Float32Array, offset: number): number {
  const amax = largestOf(x);
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let n = 21; n <= 26; n++) {
    const scale = cutToHalf(Math.fround((amax * n) / 256));
    const inverse = scale > 0 ? Math.fround(1 / scale) : 0;
    const levels = Array.from(x, (value) => nearestLevel(Math.fround(Math.fround(value) * inverse)));
    const error = levels.reduce((sum, level, i) => sum + (x[i] - level * scale) ** 2, 0);
    if (error >= least) continue;
    least = error;
    best = scale;
    codes.set(levels, offset);
  }
  return best;
}

function largestOf(x: Float32Array | Float64Array): number {
  let amax = 0;
  for (const value of x) amax = Math.max(amax, Math.abs(Math.fround(value)));
  return amax;
}

const bitsOf = new Uint32Array(1);
/** Toward 0, to the 11 digits of an f16. */
function cutToHalf(x: number): number {
  const value = new Float32Array(bitsOf.buffer);
  value[0] = x;
  bitsOf[0] &= 0xffffe000;
  return value[0];
}

function nearestLevel(y: number): number {
  const passed = BORDERS.filter((border) => Math.abs(y) >= border).length;
  return y < 0 ? LEVELS[7 - passed] : LEVELS[8 + passed];
}

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** To the nearest IEEE 754 binary16, ties to even; x must be within its range. */
function roundToHalf(x: number): number {
  const exponent = x === 0 ? -14 : Math.max(-14, Math.floor(Math.log2(Math.abs(x))));
  const unit = 2 ** (exponent - 10);
  return roundHalfToEven(x / unit) * unit;
}
