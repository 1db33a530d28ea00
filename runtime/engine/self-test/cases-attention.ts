/** The cache: RoPE and quantized writes, attention of one token over splits, attention of many. */
import { attentionDecode, splitLayout } from "../../../kernels/attention-decode";
import { attentionMerge } from "../../../kernels/attention-merge";
import { attentionPrefill } from "../../../kernels/attention-prefill";
import { attentionPrefillSoftware } from "../../../kernels/attention-prefill-software";
import type { KvFormat } from "../../../kernels/kv-cache";
import { attentionMerge as mergeTwin } from "../../../kernels/reference/attention-merge";
import { attentionPrefill as prefillTwin } from "../../../kernels/reference/attention-prefill";
import { attentionPrefillSoftware as prefillSoftwareTwin } from "../../../kernels/reference/attention-prefill-software";
import { ropeKvWrite as ropeTwin } from "../../../kernels/reference/rope-kv-write";
import { ropeKvWrite } from "../../../kernels/rope-kv-write";
import {
  emptyCache,
  filledCache,
  headLayout,
  INT8,
  KV_FORMATS,
  unpackKeys,
  unpackScales,
  unpackValues,
  uploadCache,
} from "./caches";
import { normals, READABLE, stepState } from "./data";
import { int8Gate, quantized, roomForRows, rowValues } from "./int8";
import { f32Gate, type KernelCase, tileGate } from "./kernel-case";

/** A length around the edge of a split, and a tail of the cache that would overflow if it were read. */
function decode(
  name: string,
  [H, G, d]: readonly [number, number, number],
  length: number,
  tokens = 1,
  format = INT8,
): KernelCase {
  return {
    kernel: "attention-decode",
    name,
    gate: f32Gate,
    prepare(on, tier) {
      const maxTokens = 600;
      const heads = headLayout(H, G, d);
      const rows = normals(tokens * heads.stride, 1, 3);
      const q = Float32Array.from(
        { length: tokens * H * d },
        (_, i) => rows[Math.floor(i / (H * d)) * heads.stride + (i % (H * d))],
      );
      const cache = filledCache(G, d, maxTokens, length, format);
      const split = splitLayout(tier, maxTokens);
      const partialSums = on.buffer("partial", 4 * tokens * H * split.splits * d);
      const stats = on.buffer("stats", 8 * tokens * H * split.splits);
      const o = on.buffer("o", 4 * tokens * H * d, READABLE);
      const o8 = on.buffer("o8", 0);
      const state = stepState(on, { position: length - tokens, count: tokens });
      const operands = {
        heads,
        q: on.upload("q", rows),
        kv: uploadCache(on, cache, d),
        state,
        split,
        partialSums,
        stats,
        tokens,
      };
      return {
        record(recorder) {
          attentionDecode(recorder, operands);
          const merged = { o, oStride: H * d, o8, int8: false };
          attentionMerge(recorder, { H, d, split, partialSums, stats, state, ...merged, tokens });
        },
        outputs: [{ buffer: o, expected: prefillTwin({ q, cache, H, G, d, position: length - tokens }) }],
      };
    },
  };
}

/** Splits whose maxima lie hundreds apart: weights underflow to zero and must do no harm. */
const merge = (int8: boolean): KernelCase => ({
  kernel: "attention-merge",
  name: `maxima hundreds apart${int8 ? ", in int8" : ""}`,
  gate: int8 ? int8Gate : f32Gate,
  prepare(on) {
    const [H, d, splits, keys] = [3, 64, 5, 256];
    const m = normals(H * splits, 1, 300);
    const l = normals(H * splits, 2).map((value) => 1 + Math.abs(value));
    const sums = normals(H * splits * d, 3);
    const o = on.buffer("o", 4 * H * d, READABLE);
    const o8 = roomForRows(on, H * d);
    const operands = {
      H,
      d,
      split: { splits, unitKeys: keys },
      partialSums: on.upload("partial", sums),
      stats: on.upload(
        "stats",
        Float32Array.from({ length: 2 * m.length }, (_, i) => (i % 2 ? l : m)[i >> 1]),
      ),
      state: stepState(on, { position: splits * keys - 1 }),
      o,
      oStride: H * d,
      o8,
      int8,
      tokens: 1,
    };
    const expected = mergeTwin({ m, l, o: sums, H, splits, d });
    const asInt8 = { buffer: o8, of: (bytes: ArrayBuffer) => rowValues(bytes, H * d), expected: quantized(expected) };
    return {
      record: (recorder) => attentionMerge(recorder, operands),
      outputs: [int8 ? asInt8 : { buffer: o, expected }],
    };
  },
});

/** A chunk that starts in mid-cache: rows of one tile end at different keys of a tile. */
const prefill = (software: boolean, name: string, format = INT8): KernelCase => ({
  kernel: software ? "attention-prefill-software" : "attention-prefill",
  name,
  gate: software ? f32Gate : tileGate,
  prepare(on) {
    const [T, H, G, d, position] = [21, 9, 3, 64, 50];
    const heads = headLayout(H, G, d);
    const rows = normals(T * heads.stride, 1, 2);
    const q = new Float32Array(T * H * d);
    for (let t = 0; t < T; t++) q.set(rows.subarray(t * heads.stride, t * heads.stride + H * d), t * H * d);
    const cache = filledCache(G, d, position + T + 5, position + T, format);
    const o = on.buffer("o", 4 * T * H * d, READABLE);
    const operands = {
      heads,
      qkv: on.upload("qkv", rows),
      kv: uploadCache(on, cache, d),
      state: stepState(on, { position, count: T }),
      o,
      oStride: H * d,
      tokens: T,
    };
    return {
      record: (recorder) => (software ? attentionPrefillSoftware : attentionPrefill)(recorder, operands),
      outputs: [{ buffer: o, expected: (software ? prefillSoftwareTwin : prefillTwin)({ q, cache, H, G, d, position }) }],
    };
  },
});

/** Up to the last place of the cache, with an all-zero key: its scale is 0, not a division by it. */
const rope = (name: string, format: KvFormat): KernelCase => ({
  kernel: "rope-kv-write",
  name,
  // A driver may round a code on the edge to its neighbour: one step in thousands of codes of 8 bits, and of 4 a larger one.
  gate: () => (Math.min(format.k, format.v) === 4 ? 1e-4 : 1e-7),
  prepare(on) {
    const [T, H, G, d, position, maxTokens] = [3, 8, 1, 128, 13, 16];
    const heads = headLayout(H, G, d);
    const rows = normals(T * heads.stride, 1, 4);
    rows.fill(0, heads.kAt, heads.kAt + d);
    const flat = new Float32Array(T * (H + 2 * G) * d);
    const parts = [0, heads.kAt, heads.vAt].map((at, i) => ({ at, count: i === 0 ? H : G, head: [0, H, H + G][i] }));
    for (let t = 0; t < T; t++) {
      const row = rows.subarray(t * heads.stride);
      for (const { at, count, head } of parts) flat.set(row.subarray(at, at + count * d), (t * (H + 2 * G) + head) * d);
    }
    const angles = Float32Array.from(
      { length: (maxTokens * d) / 2 },
      (_, i) => Math.floor(i / (d / 2)) * 10000 ** (-(i % (d / 2)) / (d / 2)),
    );
    const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
    const cosSin = Float32Array.from({ length: 2 * angles.length }, (_, i) => (i % 2 ? sin : cos)[i >> 1]);
    const cache = emptyCache(G, d, maxTokens, format);
    const kv = uploadCache(on, cache, d);
    const expectedQ = ropeTwin({ qkv: flat, H, G, d, position, cos, sin, cache });
    const qkv = on.upload("qkv", rows, READABLE);
    const state = stepState(on, { position, count: T });
    const operands = { heads, qkv, cosSin: on.upload("cos_sin", cosSin), state, kv, tokens: T };
    const queries = (bytes: ArrayBuffer) => {
      const all = new Float32Array(bytes);
      return Array.from({ length: T }, (_, t) => [...all.subarray(t * heads.stride, t * heads.stride + H * d)]).flat();
    };
    return {
      record: (recorder) => ropeKvWrite(recorder, operands),
      outputs: [
        { buffer: qkv, of: queries, expected: expectedQ },
        { buffer: kv.k, of: (bytes) => unpackKeys(bytes, format.k, d, maxTokens), expected: cache.k },
        { buffer: kv.v, of: (bytes) => unpackValues(bytes, format.v), expected: cache.v },
        ...(kv.scales.size > 16
          ? [{ buffer: kv.scales, of: (bytes: ArrayBuffer) => unpackScales(bytes, format), expected: cache.scales }]
          : []),
      ],
    };
  },
});

const bitsOf = ({ k, v }: KvFormat): string => `keys of ${k} bits, values of ${v}`;

export const ATTENTION_CASES: readonly KernelCase[] = [
  rope("the cache's last places, a key of zeros", INT8),
  ...KV_FORMATS.filter((format) => format !== INT8).map((format) => rope(`the cache's last places, ${bitsOf(format)}`, format)),
  decode("one key beyond a split", [9, 3, 64], 257),
  decode("16 query heads on one kv head of 128", [16, 1, 128], 70),
  decode("4 tokens, two of them beyond a split", [9, 3, 64], 258, 4),
  ...KV_FORMATS.filter((format) => format !== INT8).map((format) =>
    decode(`130 keys, ${bitsOf(format)}`, [9, 3, 64], 130, 1, format),
  ),
  merge(false),
  merge(true),
  ...[false, true].flatMap((software) => [
    prefill(software, "21 tokens after 50"),
    ...KV_FORMATS.filter((format) => format !== INT8).map((format) =>
      prefill(software, `21 tokens after 50, ${bitsOf(format)}`, format),
    ),
  ]),
];
