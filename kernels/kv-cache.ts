/** The KV cache as the kernels share it: formats, sizes, overrides. Layouts and codes in wgsl/lib/kv-cache.wgsl. */

/** Bits of a cached number: 16, as f16; 8 and 4, codes with a scale for each token and kv head. */
export type KvBits = 16 | 8 | 4;

export interface KvFormat {
  k: KvBits;
  v: KvBits;
}

/** One layer's cache on the GPU. */
export interface KvBuffers {
  /** u32 [G, words of a key, maxTokens]. */
  k: GPUBuffer;
  /** u32 [G, maxTokens, words of a value]. */
  v: GPUBuffer;
  /** f32 [G, maxTokens, 2]: the scales of k and v; of no size where both have 16 bits. */
  scales: GPUBuffer;
  maxTokens: number;
  format: KvFormat;
}

/** Bytes of each buffer for G kv heads of size d. */
export function kvBytes({ k, v }: KvFormat, G: number, d: number, maxTokens: number): { k: number; v: number; scales: number } {
  const numbers = G * maxTokens * d;
  return { k: (numbers * k) / 8, v: (numbers * v) / 8, scales: k === 16 && v === 16 ? 0 : 8 * G * maxTokens };
}

/** Bytes that reading one token of one kv head's cache takes. */
export const kvTokenBytes = ({ format }: KvBuffers, d: number): number => (d * (format.k + format.v)) / 8 + 8;

/** What wgsl/lib/kv-cache.wgsl is specialised for. */
export const kvOverrides = ({ format, maxTokens }: KvBuffers, d: number) => ({
  K_BITS: format.k,
  V_BITS: format.v,
  MAX_TOKENS: maxTokens,
  HEAD_SIZE: d,
});
