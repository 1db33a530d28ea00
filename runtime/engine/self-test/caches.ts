/** Head layouts and int8 caches. */
import { type KvCache, quantize } from "../../../kernels/reference/rope-kv-write";
import type { HeadLayout, KvBuffers } from "../../../kernels/rope-kv-write";
import { type Allocator, normals, READABLE } from "./data";

export function headLayout(H: number, G: number, d: number): HeadLayout {
  const pad = (n: number) => 16 * Math.ceil(n / 16);
  const kAt = pad(H * d);
  const vAt = kAt + pad(G * d);
  return { H, G, d, kAt, vAt, stride: 64 * Math.ceil((vAt + pad(G * d)) / 64) };
}

export function emptyCache(G: number, d: number, maxTokens: number): KvCache {
  const size = G * maxTokens * d;
  return { maxTokens, k: new Int8Array(size), v: new Int8Array(size), scales: new Float32Array(2 * G * maxTokens) };
}

/** Random keys and values in the first `length` places; the tail holds what must never be read (huge scales). */
export function filledCache(G: number, d: number, maxTokens: number, length: number): KvCache {
  const cache = emptyCache(G, d, maxTokens);
  const keys = normals(G * maxTokens * d, 11, 2);
  const values = normals(G * maxTokens * d, 12);
  for (let g = 0; g < G; g++) {
    for (let t = 0; t < maxTokens; t++) {
      const row = g * maxTokens + t;
      const live = t < length;
      cache.scales[2 * row] = live ? quantize(keys.subarray(row * d, (row + 1) * d), cache.k, row * d) : 1e30;
      cache.scales[2 * row + 1] = live ? quantize(values.subarray(row * d, (row + 1) * d), cache.v, row * d) : 1e30;
      if (!live) cache.k.fill(127, row * d, (row + 1) * d);
      if (!live) cache.v.fill(127, row * d, (row + 1) * d);
    }
  }
  return cache;
}

export function uploadCache(on: Allocator, cache: KvCache): KvBuffers {
  return {
    k: on.upload("k", cache.k, READABLE),
    v: on.upload("v", cache.v, READABLE),
    scales: on.upload("scales", cache.scales, READABLE),
    maxTokens: cache.maxTokens,
  };
}
