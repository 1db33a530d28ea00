import { describe, expect, it } from "vitest";
import { roundToF16 } from "../../runtime/formats/f16";
import {
  clusterHistogram,
  columnImportance,
  fillHistogram,
  makeHistogram,
  scaleRowWeights,
} from "../../runtime/palettize/kmeans";
import { makeRandom } from "./random";

const histogramOf = (values: ArrayLike<number>, weights?: ArrayLike<number>, histogram = makeHistogram()) => {
  const x = Float32Array.from(values);
  const all = weights ?? new Float32Array(x.length).fill(1);
  const span = [0, x.length] as const;
  fillHistogram(histogram, x, span, 1, 4, scaleRowWeights(x, span, 1, all));
  return histogram;
};

/** Every value is a row of its own. */
const cluster = (values: ArrayLike<number>, entries: number, weights?: ArrayLike<number>) =>
  clusterHistogram(histogramOf(values, weights), entries);

/** What a value counts in k-means: its row's weight, more where it is large. */
const emphasis = (values: ArrayLike<number>, weights?: ArrayLike<number>): number[] =>
  Array.from(values, (x, i) => (weights ? weights[i] : 1) * Math.sqrt(1 + Math.abs(x)));

/** Sum of weight * (distance to the nearest entry)^2. */
function error(values: ArrayLike<number>, palette: ArrayLike<number>, rowWeights?: ArrayLike<number>): number {
  const weights = emphasis(values, rowWeights);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const nearest = Math.min(...Array.from(palette, (entry) => Math.abs(values[i] - entry)));
    sum += weights[i] * nearest ** 2;
  }
  return sum;
}

/** The least error that any k entries can have: every partition of the sorted values into k runs, by dynamic programming. */
function leastError(values: ArrayLike<number>, k: number, rowWeights?: ArrayLike<number>): number {
  const weights = emphasis(values, rowWeights);
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[a] - values[b]);
  const n = order.length;
  let before = new Array(n + 1).fill(Number.POSITIVE_INFINITY);
  before[0] = 0;
  for (let part = 1; part <= k; part++) {
    const best = new Array(n + 1).fill(Number.POSITIVE_INFINITY);
    best[0] = 0;
    for (let j = 1; j <= n; j++) {
      let [w, wx, wxx] = [0, 0, 0];
      for (let i = j - 1; i >= 0; i--) {
        const weight = weights[order[i]];
        w += weight;
        wx += weight * values[order[i]];
        wxx += weight * values[order[i]] ** 2;
        best[j] = Math.min(best[j], before[i] + Math.max(0, wxx - wx ** 2 / w));
      }
    }
    before = best;
  }
  return before[n];
}

describe("clusterHistogram", () => {
  // Where heavy tails have most of the error, a run of bins is a coarse place for a border: hence 5 % there.
  it.each<[string, number, (random: ReturnType<typeof makeRandom>) => number]>([
    ["normal", 1.01, (random) => random.normal()],
    ["uniform", 1.01, (random) => 4 * random.uniform() - 2],
    ["two humps", 1.01, (random) => 0.2 * random.normal() + (random.uniform() < 0.3 ? -1.5 : 1)],
    ["heavy-tailed", 1.05, (random) => random.normal() ** 3],
  ])("%s values: within %f of the best partition there is, at 4, 8 and 16 entries", (_, most, draw) => {
    const random = makeRandom(1);
    const values = Float32Array.from({ length: 1200 }, () => draw(random));
    for (const entries of [4, 8, 16]) {
      expect(error(values, cluster(values, entries))).toBeLessThan(most * leastError(values, entries));
    }
  });

  it("weighs values: within 1 % of the best weighted partition", () => {
    const random = makeRandom(2);
    const values = random.normals(1000);
    const weights = values.map((x) => (x > 0 ? 100 : 0.01));
    const palette = cluster(values, 8, weights);
    expect(error(values, palette, weights)).toBeLessThan(1.01 * leastError(values, 8, weights));
    expect(palette.filter((entry) => entry > 0).length).toBeGreaterThanOrEqual(7);
  });

  it("entries rise and are exact in f16", () => {
    const palette = cluster(makeRandom(3).normals(3000), 16);
    expect(palette).toEqual(palette.slice().sort());
    expect(Array.from(palette, roundToF16)).toEqual([...palette]);
  });

  it.each([39, 200, 1500, -1500])("an outlier of %f keeps an entry and takes nothing from the rest", (outlier) => {
    const values = makeRandom(4).normals(2000);
    const palette = cluster([...values, outlier], 16);
    const own = outlier > 0 ? palette[15] : palette[0];
    // A bin out there is wide, and where in it a value lies has 8 bits.
    expect(Math.abs(own / outlier - 1)).toBeLessThan(1 / 512);
    expect(error(values, palette)).toBeLessThan(1.3 * leastError(values, 15));
  });

  it("a constant block is that constant", () => {
    expect([...cluster(new Float32Array(100).fill(-0.75), 16)]).toEqual(new Array(16).fill(-0.75));
  });

  it("fewer values than entries: each is kept, the largest repeated", () => {
    expect([...cluster([3, -1, 0.5, 3, -1], 8)]).toEqual([-1, 0.5, 3, 3, 3, 3, 3, 3]);
  });

  it("as many values as entries are kept exactly", () => {
    const values = Array.from({ length: 16 }, (_, i) => (i - 7.5) / 4);
    expect([...cluster([...values, ...values].reverse(), 16)]).toEqual(values);
  });

  it("nothing, or nothing of any weight, gives zeros", () => {
    expect([...cluster([], 16)]).toEqual(new Array(16).fill(0));
    expect([...cluster([1, 2, 3], 4, [0, 0, 0])]).toEqual([0, 0, 0, 0]);
  });

  it("what is beyond every normalised row counts as 2047", () => {
    const values = makeRandom(4).normals(2000);
    for (const outlier of [2e4, 1e9, -1e30]) expect(Math.abs(cluster([...values, outlier], 16)[outlier < 0 ? 0 : 15])).toBe(2047);
  });

  it("a refilled histogram forgets", () => {
    const histogram = histogramOf(makeRandom(5).normals(100));
    expect([...clusterHistogram(histogramOf([2], [1], histogram), 4)]).toEqual([2, 2, 2, 2]);
  });

  it("does not depend on the order of values, nor on a common factor of their weights", () => {
    const values = makeRandom(6).normals(3000);
    const weights = values.map((_, i) => 1 + (i % 7));
    const palette = cluster(values, 16, weights);
    expect(cluster(values.slice().reverse(), 16, weights.slice().reverse())).toEqual(palette);
    expect(
      cluster(
        values,
        16,
        weights.map((weight) => weight / 1024),
      ),
    ).toEqual(palette);
  });
});

describe("fillHistogram", () => {
  it("keeps a block's weights below 2^28 whatever its values and columns weigh", () => {
    const random = makeRandom(7);
    for (const cols of [1, 48, 1536]) {
      const values = random.normals(16 * cols);
      values[3] = 2047;
      const importance = columnImportance(Float32Array.from({ length: cols }, (_, c) => (c === 0 ? cols : 0.01)));
      const span = [0, 16] as const;
      const rowWeights = Float64Array.from({ length: 16 }, (_, r) => 10 ** -r);
      const histogram = makeHistogram();
      fillHistogram(histogram, values, span, cols, 4, scaleRowWeights(values, span, cols, rowWeights, importance), importance);
      const total = histogram.weight.reduce((sum, weight) => sum + weight, 0);
      expect(total).toBeLessThan(2 ** 28);
      expect(total).toBeGreaterThan(2 ** 18);
      histogram.inside.forEach((inside, bin) => {
        expect(inside).toBeLessThanOrEqual(histogram.weight[bin]);
      });
    }
  });

  it("leaves out rows that weigh nothing", () => {
    const histogram = makeHistogram();
    fillHistogram(histogram, Float32Array.of(1, 2, 3, 4), [0, 2], 2, 4, Float32Array.of(0, 1000));
    expect(histogram.weight.filter((weight) => weight > 0).length).toBe(2);
  });

  it.each([
    [4, 2],
    [3, 1],
    [2, 1],
  ])("at %i bits a value of 3 weighs %i times what a value of 0 does", (width, times) => {
    const histogram = makeHistogram();
    fillHistogram(histogram, Float32Array.of(0, 3), [0, 1], 2, width, Float32Array.of(1024));
    const [least, most] = histogram.weight.filter((weight) => weight > 0);
    expect(most / least).toBeCloseTo(times, 2);
  });
});

describe("columnImportance", () => {
  it("rounds to 8 bits: values a last bit apart come out the same", () => {
    const [a, b, c] = columnImportance(Float32Array.of(1.2345, 1.2345 * (1 + 2 ** -22), 100));
    expect(a).toBe(b);
    expect(a / 1.2345).toBeCloseTo(1, 2);
    expect(c).toBe(100);
  });
});
