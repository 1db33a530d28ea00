/** The CPU twins against what they can be checked with: the format's own reader, each other, and sums done by hand. */
import { describe, expect, it } from "vitest";
import { attentionDecode } from "../../kernels/reference/attention-decode";
import { attentionMerge } from "../../kernels/reference/attention-merge";
import { matmulPalette } from "../../kernels/reference/matmul-palette";
import { matvecPalette } from "../../kernels/reference/matvec-palette";
import { weightRow } from "../../kernels/reference/palette-matrix";
import { type KvCache, LEVELS, quantize, ropeKvWrite } from "../../kernels/reference/rope-kv-write";
import { rotate, unrotate } from "../../kernels/reference/rotate";
import { sampleGumbel, uniform } from "../../kernels/reference/sample-gumbel";
import { sampleThreshold } from "../../kernels/reference/sample-threshold";
import { multiply } from "../../runtime/engine/reference/linear";
import { inverseFrequencies } from "../../runtime/engine/rope-table";
import { f32ArrayToF16 } from "../../runtime/formats/f16";
import { dequantizeLinear } from "../../runtime/formats/palettized-linear";
import { makeRotation, rotateVector, rotationSpec } from "../../runtime/formats/rotation";

/** Deterministic values in (-1, 1). */
function noise(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => 2 * uniform(seed, 0, i) - 1);
}
const words = (length: number, seed: number) => Uint32Array.from(noise(length, seed), (x) => (x + 1) * 2 ** 31);
const halves = (length: number, seed: number) => f32ArrayToF16(noise(length, seed));

function expectClose(a: ArrayLike<number>, b: ArrayLike<number>, tolerance: number): void {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(Math.abs(a[i] - b[i]), `[${i}]`).toBeLessThanOrEqual(tolerance);
}

/** Five blocks of mixed widths, the last one not full, with padded columns. */
const rows = 70;
const cols = 100;
const matrix = {
  rows,
  cols,
  bits: Uint8Array.from([4, 2, 3, 4, 3]),
  plane0: words(80 * 8, 1),
  plane1: words(64 * 4, 2),
  plane2: words(32 * 4, 3),
  palette4: halves(2 * 16, 4),
  palette3: halves(2 * 8, 5),
  palette2: halves(4, 6),
  rowScale: halves(80, 7),
};

describe("palettized twins", () => {
  const weights = dequantizeLinear(matrix, rows, cols);

  it("read the weights that the format's reader reads", () => {
    for (let r = 0; r < rows; r++) expectClose(weightRow(matrix, r), weights.subarray(r * cols, (r + 1) * cols), 1e-7);
  });

  it("multiply as the dense loop does, with norm and residual", () => {
    const x = noise(3 * cols, 8);
    const residual = noise(3 * rows, 9);
    const product = multiply(weights, x, 3);
    expectClose(
      matmulPalette({ matrix, x, residual }),
      product.map((value, i) => value + residual[i]),
      1e-5,
    );
    const token = x.subarray(0, cols);
    const rms = Math.sqrt(token.reduce((sum, value) => sum + value * value, 0) / cols + 0.5);
    const scaled = product.subarray(0, rows).map((value) => value / rms);
    expectClose(matvecPalette({ matrix, x: token, normEps: 0.5 }), scaled, 1e-5);
  });
});

describe("rotate", () => {
  it.each([64, 576, 72])("turns %i values as the formats' fast transform does, and back", (size) => {
    const rotation = makeRotation(rotationSpec(size, 3));
    const x = noise(size, 10);
    const fast = Float64Array.from(x);
    rotateVector(rotation, fast);
    const slow = rotate(rotation, x);
    expectClose(slow, fast, 1e-6);
    expectClose(unrotate(rotation, slow), x, 1e-6);
  });
});

describe("rope-kv-write", () => {
  const cacheOf = (maxTokens: number, d: number): KvCache => ({
    maxTokens,
    format: { k: 8, v: 8 },
    k: new Float32Array(maxTokens * d),
    v: new Float32Array(maxTokens * d),
    scales: new Float32Array(4 * maxTokens),
  });

  it("turns halves against each other and rounds to even", () => {
    const cache = cacheOf(2, 4);
    const q = [1, 2, 3, 4];
    const k = [0, 0, 0, 0];
    // 127 / amax = 0.5, so that odd values fall on a half: 0.5, 1.5, -0.5.
    const v = [254, 1, 3, -1];
    const cos = [1, 1, 0, 1];
    const sin = [0, 0, 1, 0];
    const turned = ropeKvWrite({ qkv: [...q, ...k, ...v], H: 1, G: 1, d: 4, position: 1, cos, sin, cache });
    expect([...turned]).toEqual([-3, 2, 1, 4]);
    expect([...cache.k]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...cache.v]).toEqual([0, 0, 0, 0, 127, 0, 2, 0]);
    expect([...cache.scales]).toEqual([0, 0, 0, 0, 0, 0, 2, 2]);
  });

  it("takes the nearest of 16 levels, closest together around 0", () => {
    const levels = LEVELS.slice(8);
    expect(LEVELS.slice(0, 8)).toEqual(levels.map((level) => -level).reverse());
    expect(levels[0]).toBe(0.5 + 3 / 4096);
    const gaps = levels.slice(1).map((level, i) => level - levels[i]);
    expect(gaps.every((gap, i) => i === 0 || gap > gaps[i - 1])).toBe(true);
    // 25/256 of the first half's largest is 2, and its others lie on levels of that scale.
    const low = [...levels.slice(0, 7).map((level) => 2 * level), 20.48];
    const high = [-10.5, 0, -0, 1e-3, -1e-3, 0, 0, 0];
    const codes = new Float32Array(16);
    const [scale] = quantize(Float64Array.from([...low, ...high]), 4, codes, 0);
    expect(scale).toBeCloseTo(2, 2);
    const first = levels[0];
    expect([...codes.subarray(0, 8)]).toEqual(levels);
    expect([...codes.subarray(8)].map((level) => Math.abs(level))).toEqual([levels[7], ...Array(7).fill(first)]);
    expect([...codes.subarray(8)].map(Math.sign)).toEqual([-1, 1, 1, 1, -1, 1, 1, 1]);
  });

  it("takes the scale that leaves least, in f16", () => {
    const x = Float64Array.from({ length: 32 }, (_, i) => Math.sin(i * i));
    const left = (codes: Float32Array, scale: number) =>
      x.subarray(0, 16).reduce((sum, value, i) => sum + (value - codes[i] * scale) ** 2, 0);
    const codes = new Float32Array(32);
    const [scale] = quantize(x, 4, codes, 0);
    expect(Math.fround(scale)).toBe(scale);
    expect((scale * 2 ** 20) % 1).toBe(0);
    const amax = Math.max(...x.subarray(0, 16).map(Math.abs));
    for (let n = 21; n <= 26; n++) {
      const other = (amax * n) / 256;
      const nearest = Float32Array.from(x.subarray(0, 16), (value) =>
        LEVELS.reduce((best, level) => (Math.abs(level - value / other) < Math.abs(best - value / other) ? level : best)),
      );
      expect(left(codes, scale)).toBeLessThanOrEqual(left(nearest, other) * 1.01);
    }
  });
});

describe("attention-merge", () => {
  it("of two splits and an empty one is attention over all", () => {
    const [H, G, d, length] = [4, 2, 8, 5];
    const cache: KvCache = {
      maxTokens: 6,
      format: { k: 8, v: 8 },
      k: noise(G * 6 * d, 11).map((x) => Math.trunc(127 * x)),
      v: noise(G * 6 * d, 12).map((x) => Math.trunc(127 * x)),
      scales: noise(G * 6 * 4, 13).map((x) => 0.02 * (x + 2)),
    };
    const scale = (row: number, value: number, i: number) => cache.scales[4 * row + value + (i < d / 2 ? 0 : 1)];
    const q = noise(H * d, 14);
    const m: number[] = [];
    const l: number[] = [];
    const o: number[] = [];
    for (let h = 0; h < H; h++) {
      const row = (j: number) => Math.floor(h / 2) * 6 + j;
      for (const [from, to] of [
        [0, 2],
        [2, length],
        [length, length],
      ]) {
        const scores: number[] = [];
        for (let j = from; j < to; j++) {
          let dot = 0;
          for (let i = 0; i < d; i++) dot += q[h * d + i] * cache.k[row(j) * d + i] * scale(row(j), 0, i);
          scores.push(dot / Math.sqrt(d));
        }
        const max = Math.max(-1e30, ...scores);
        const p = scores.map((score) => Math.exp(score - max));
        m.push(max);
        l.push(p.reduce((a, b) => a + b, 0));
        for (let i = 0; i < d; i++)
          o.push(p.reduce((sum, x, j) => sum + x * scale(row(from + j), 2, i) * cache.v[row(from + j) * d + i], 0));
      }
    }
    const merged = attentionMerge({ m, l, o, H, splits: 3, d });
    expectClose(merged, attentionDecode({ q, cache, H, G, d, length }), 1e-6);
  });
});

describe("sample-threshold", () => {
  // Probabilities 0.5, 0.25, 0.125, 0.125 at temperature 1.
  const logits = [0.125, 0.5, 0.125, 0.25].map(Math.log);
  const kept = (limits: { temperature?: number; topK?: number; topP?: number; minP?: number }) => {
    const threshold = sampleThreshold({ logits, temperature: 1, ...limits });
    return logits.flatMap((logit, id) => (logit >= threshold ? [id] : []));
  };

  it("keeps everything without limits", () => expect(kept({})).toEqual([0, 1, 2, 3]));
  it("keeps the k likeliest, and ties", () => {
    expect(kept({ topK: 2 })).toEqual([1, 3]);
    expect(kept({ topK: 3 })).toEqual([0, 1, 2, 3]);
  });
  it("keeps the smallest set that reaches p, of the survivors of top-k", () => {
    expect(kept({ topP: 0.5 })).toEqual([1]);
    expect(kept({ topP: 0.51 })).toEqual([1, 3]);
    expect(kept({ topP: 0.6, topK: 2 })).toEqual([1]);
    expect(kept({ topP: 0 })).toEqual([1]);
  });
  it("keeps what is a fraction as likely as the likeliest, at the temperature", () => {
    expect(kept({ minP: 0.3 })).toEqual([1, 3]);
    expect(kept({ minP: 0.3, temperature: 0.5 })).toEqual([1]);
  });
});

describe("sample-gumbel", () => {
  it("draws in proportion to the probabilities, and only above the threshold", () => {
    const logits = [0.6, 0.3, 0.1, 0.2].map(Math.log);
    const counts = [0, 0, 0, 0];
    const draws = 20_000;
    for (let position = 0; position < draws; position++)
      counts[sampleGumbel({ logits, threshold: Math.log(0.15), temperature: 1, seed: 7, position })]++;
    expect(counts[2]).toBe(0);
    // Four standard deviations.
    for (const id of [0, 1, 3]) {
      const p = Math.exp(logits[id]) / 1.1;
      expect(Math.abs(counts[id] / draws - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / draws));
    }
  });

  it("is the argmax at temperature 0, the lowest id of ties", () => {
    expect(sampleGumbel({ logits: [1, 3, 2, 3], threshold: 9, temperature: 0, seed: 1, position: 2 })).toBe(1);
  });
});

describe("inverseFrequencies", () => {
  it("leaves short wavelengths, stretches long ones and blends between", () => {
    const llama3 = { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 };
    const plain = inverseFrequencies({ theta: 10_000 }, 16);
    const scaled = inverseFrequencies({ theta: 10_000, llama3 }, 16);
    const ratios = Array.from(plain, (frequency, i) => frequency / scaled[i]);
    expect(ratios[0]).toBe(1);
    expect(ratios[1]).toBeGreaterThan(1);
    expect(ratios[1]).toBeLessThan(8);
    expect(ratios[7]).toBeCloseTo(8, 5);
  });
});
