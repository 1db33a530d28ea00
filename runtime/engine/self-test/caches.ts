/** Head layouts and caches. */

import type { KvBuffers } from "../../../kernels/kv-cache";
import { type KvFormat, kvBytes } from "../../../kernels/kv-cache";
import { type KvBits, type KvCache, LEVELS, quantize } from "../../../kernels/reference/rope-kv-write";
import type { HeadLayout } from "../../../kernels/rope-kv-write";
import { f16ToF32, f32ToF16 } from "../../formats/f16";
import { type Allocator, normals, READABLE } from "./data";

export const INT8: KvFormat = { k: 8, v: 8 };
/** What tests go through: every width for keys and for values. */
export const KV_FORMATS: readonly KvFormat[] = [{ k: 16, v: 16 }, INT8, { k: 8, v: 4 }, { k: 4, v: 4 }];

export function headLayout(H: number, G: number, d: number): HeadLayout {
  const pad = (n: number) => 16 * Math.ceil(n / 16);
  const kAt = pad(H * d);
  const vAt = kAt + pad(G * d);
  return { H, G, d, kAt, vAt, stride: 64 * Math.ceil((vAt + pad(G * d)) / 64) };
}

export function emptyCache(G: number, d: number, maxTokens: number, format = INT8): KvCache {
  const scales = new Float32Array(4 * G * maxTokens);
  // A word of zeros holds codes 0, which stand for the lowest level where they have 4 bits.
  const codes = (bits: KvBits) => new Float32Array(G * maxTokens * d).fill(bits === 4 ? LEVELS[0] : 0);
  return { maxTokens, format, k: codes(format.k), v: codes(format.v), scales };
}

/** Random keys and values in the first `length` places; the tail holds what must never be read (huge values). */
export function filledCache(G: number, d: number, maxTokens: number, length: number, format = INT8): KvCache {
  const cache = emptyCache(G, d, maxTokens, format);
  const keys = normals(G * maxTokens * d, 11, 2);
  const values = normals(G * maxTokens * d, 12);
  const largest = (bits: KvBits) => ({ 16: 60000, 8: 127, 4: LEVELS[15] })[bits];
  for (let g = 0; g < G; g++) {
    for (let t = 0; t < maxTokens; t++) {
      const row = g * maxTokens + t;
      const [from, to] = [row * d, (row + 1) * d];
      const live = t < length;
      cache.scales.fill(6e4, 4 * row, 4 * row + 4);
      if (live) cache.scales.set(quantize(keys.subarray(from, to), format.k, cache.k, from), 4 * row);
      if (live) cache.scales.set(quantize(values.subarray(from, to), format.v, cache.v, from), 4 * row + 2);
      if (!live) cache.k.fill(largest(format.k), from, to);
      if (!live) cache.v.fill(largest(format.v), from, to);
    }
  }
  return cache;
}

export function uploadCache(on: Allocator, { maxTokens, format, k, v, scales }: KvCache, d: number): KvBuffers {
  const G = scales.length / (4 * maxTokens);
  const bytes = kvBytes(format, G, d, maxTokens);
  const bytesOf = (values: Float32Array, bits: KvBits, words: number, transposed: boolean) => {
    const packed = new Uint32Array(G * maxTokens * words);
    const columns = 32 / bits;
    for (let at = 0; at < packed.length; at++) {
      const [row, word] = [Math.floor(at / words), at % words];
      const [g, token] = [Math.floor(row / maxTokens), row % maxTokens];
      const to = transposed ? (g * words + word) * maxTokens + token : at;
      packed[to] = packWord(values.subarray(at * columns, (at + 1) * columns), bits);
    }
    return packed;
  };
  return {
    k: on.upload("k", bytesOf(k, format.k, (d * format.k) / 32, true), READABLE),
    v: on.upload("v", bytesOf(v, format.v, (d * format.v) / 32, false), READABLE),
    scales: bytes.scales > 0 ? on.upload("scales", packScales(scales, format), READABLE) : on.buffer("scales", 0, READABLE),
    maxTokens,
    format,
  };
}

function packScales(scales: Float32Array, { k, v }: KvFormat): Uint32Array<ArrayBuffer> {
  const packed = new Uint32Array(scales.length / 2);
  const floats = new Float32Array(packed.buffer);
  for (let i = 0; i < packed.length; i++) {
    if ((i % 2 ? v : k) === 4) packed[i] = f32ToF16(scales[2 * i]) | (f32ToF16(scales[2 * i + 1]) << 16);
    else floats[i] = scales[2 * i];
  }
  return packed;
}

/** What stands in a buffer of scales: see KvCache. */
export function unpackScales(bytes: ArrayBuffer, { k, v }: KvFormat): Float32Array {
  const floats = new Float32Array(bytes);
  const halves = new Uint16Array(bytes);
  return Float32Array.from({ length: halves.length }, (_, i) =>
    ((i >> 1) % 2 ? v : k) === 4 ? f16ToF32(halves[i]) : floats[i >> 1],
  );
}

/** What stands in a buffer of keys, [G, maxTokens, d]: see KvCache. */
export function unpackKeys(bytes: ArrayBuffer, bits: KvBits, d: number, maxTokens: number): Float32Array {
  const packed = new Uint32Array(bytes);
  const words = (d * bits) / 32;
  const turned = packed.map((_, at) => {
    const [row, word] = [Math.floor(at / words), at % words];
    return packed[(Math.floor(row / maxTokens) * words + word) * maxTokens + (row % maxTokens)];
  });
  return unpackValues(turned.buffer, bits);
}

/** What stands in a buffer of values. */
export const unpackValues = (bytes: ArrayBuffer, bits: KvBits): Float32Array =>
  Float32Array.from([...new Uint32Array(bytes)].flatMap((word) => unpackWord(word, bits)));

/** The place of each column of a word of 4-bit codes: low nibbles of the four bytes, then high ones. */
const nibbleAt = (column: number): number => 8 * (column % 4) + 4 * Math.floor(column / 4);

function packWord(values: Float32Array, bits: KvBits): number {
  if (bits === 16) return (f32ToF16(values[0]) | (f32ToF16(values[1]) << 16)) >>> 0;
  return values.reduce(
    (word, value, i) => (bits === 8 ? word | ((value & 255) << (8 * i)) : word | (LEVELS.indexOf(value) << nibbleAt(i))) >>> 0,
    0,
  );
}

function unpackWord(word: number, bits: KvBits): number[] {
  if (bits === 16) return [f16ToF32(word & 0xffff), f16ToF32(word >>> 16)];
  if (bits === 8) return [0, 1, 2, 3].map((i) => (word << (24 - 8 * i)) >> 24);
  return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => LEVELS[(word >>> nibbleAt(i)) & 15]);
}
