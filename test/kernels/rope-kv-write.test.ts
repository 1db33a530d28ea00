import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ropeKvWrite as twin } from "../../kernels/reference/rope-kv-write";
import { ropeKvWrite } from "../../kernels/rope-kv-write";
import {
  emptyCache,
  headLayout,
  KV_FORMATS,
  unpackKeys,
  unpackScales,
  unpackValues,
  uploadCache,
} from "../../runtime/engine/self-test/caches";
import type { Gpu } from "../../runtime/gpu/device";
import { nmse, normals, READABLE, readBytes, readFloats, runOnce, stepState, testGpu } from "./harness";

/** The worst cases are an all-zero key (its scale is 0, not a division by it) and the last place of the cache. */
const CASES = [
  { name: "one token at position 0", T: 1, H: 4, G: 2, d: 16, position: 0, maxTokens: 8 },
  { name: "sample's heads, a chunk in the middle", T: 7, H: 9, G: 3, d: 64, position: 5, maxTokens: 32 },
  { name: "multi-query, head size 128, up to the last place", T: 3, H: 8, G: 1, d: 128, position: 13, maxTokens: 16 },
  { name: "zero keys and values", T: 2, H: 2, G: 2, d: 32, position: 1, maxTokens: 8, zero: true },
];

const MAPPINGS = KV_FORMATS.flatMap((format) => [true, false].map((software) => ({ ...format, format, software })));

describe.each(MAPPINGS)("rope-kv-write, keys of $k bits and values of $v, software mapping $software", ({ format, software }) => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await testGpu({ choice: { software } });
  });
  afterAll(() => gpu.destroy());

  it.each(CASES)("$name", async ({ T, H, G, d, position, maxTokens, zero }) => {
    const heads = headLayout(H, G, d);
    const rows = normals(T * heads.stride, 1, 4);
    if (zero) for (let t = 0; t < T; t++) rows.fill(0, t * heads.stride + heads.kAt, (t + 1) * heads.stride);
    const flat = new Float32Array(T * (H + 2 * G) * d);
    for (let t = 0; t < T; t++) {
      const row = rows.subarray(t * heads.stride);
      flat.set(row.subarray(0, H * d), t * (H + 2 * G) * d);
      flat.set(row.subarray(heads.kAt, heads.kAt + G * d), (t * (H + 2 * G) + H) * d);
      flat.set(row.subarray(heads.vAt, heads.vAt + G * d), (t * (H + 2 * G) + H + G) * d);
    }
    const angles = Float32Array.from(
      { length: (maxTokens * d) / 2 },
      (_, i) => Math.floor(i / (d / 2)) * 10000 ** (-(i % (d / 2)) / (d / 2)),
    );
    const cos = angles.map(Math.cos);
    const sin = angles.map(Math.sin);
    const cosSin = new Float32Array(2 * angles.length);
    for (let i = 0; i < angles.length; i++) cosSin.set([cos[i], sin[i]], 2 * i);

    const cache = emptyCache(G, d, maxTokens, format);
    const kv = uploadCache(gpu, cache, d);
    const expectedQ = twin({ qkv: flat, H, G, d, position, cos, sin, cache });
    const qkv = gpu.upload("qkv", rows, READABLE);
    await runOnce(gpu, (recorder) =>
      ropeKvWrite(recorder, {
        heads,
        qkv,
        cosSin: gpu.upload("cos_sin", cosSin),
        state: stepState(gpu, { position, count: T }),
        kv,
        tokens: T,
      }),
    );
    const all = await readFloats(gpu, qkv);
    const q = new Float32Array(T * H * d);
    for (let t = 0; t < T; t++) q.set(all.subarray(t * heads.stride, t * heads.stride + H * d), t * H * d);
    expect(nmse(q, expectedQ)).toBeLessThan(1e-10);
    if (format.k < 16 || format.v < 16) {
      expect(nmse(unpackScales(await readBytes(gpu, kv.scales), format), cache.scales)).toBeLessThan(1e-12);
    }
    const keys = unpackKeys(await readBytes(gpu, kv.k), format.k, d, maxTokens);
    const values = unpackValues(await readBytes(gpu, kv.v), format.v);
    for (const [bits, actual, all] of [
      [format.k, keys, cache.k],
      [format.v, values, cache.v],
    ] as const) {
      // Places before the first token hold nothing.
      const live = (_: number, i: number) =>
        Math.floor(i / d) % maxTokens >= position && Math.floor(i / d) % maxTokens < position + T;
      const [codes, written] = [all.filter(live), actual.filter(live)];
      const differences = codes.filter((code, i) => code !== written[i]).length;
      const steps = codes.map((code, i) => Math.abs(code - written[i]) / (bits === 16 ? Math.max(2 ** -14, Math.abs(code)) : 1));
      // A driver may divide and rotate with an error in the last place: a code on the edge may fall to its neighbour; and it may
      // round a half either way.
      // The last levels of 4 bits lie 1.9 apart.
      expect(Math.max(...steps)).toBeLessThanOrEqual({ 16: 2 ** -10, 8: 1, 4: 1.9 }[bits]);
      if (bits < 16) expect(differences).toBeLessThanOrEqual(Math.ceil(codes.length / 500));
    }
  });
});
