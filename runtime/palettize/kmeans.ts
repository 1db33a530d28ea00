/**
 * Weighted 1-D k-means over every value of a block, through a histogram of 4,096 bins that keeps each bin's weight and where in
 * the bin it lies: centroids are means of all values, only a border's place is rounded to a bin. Sampling the block instead would
 * miss the few enormous weights that small models carry.
 *
 * The best partition of 1-D points is a shortest path (Wang and Song, Ckmeans.1d.dp, 2011). It is found on runs of 16 bins and
 * then refined by Lloyd's iteration on the bins.
 *
 * All of it is in whole numbers once a value has its weight, so that the order of sums does not matter and a GPU, whose
 * division may round otherwise, finds the same palette to the last bit: wgsl/palette-histogram.wgsl and wgsl/palette-kmeans.wgsl
 * do the same steps. Numbers here stay below 2^53 where they are exact, quotients are of a divisor below 2^28.
 */
import { roundToF16 } from "../formats/f16";

/** On each side of zero. */
export const SIDE_BINS = 2048;
export const BINS = 2 * SIDE_BINS;
export const RUN_BINS = 16;
const RUNS = BINS / RUN_BINS;
/** Of a block's weights, together. */
const TOTAL_WEIGHT = 2 ** 28;
export const MAX_ITERATIONS = 64;
/** Fraction bits of a fixed-point value; where bins begin takes 10 of them. */
const FIXED_BITS = 18;
/** The last bin, of one value: more than a row of RMS 1 holds with fewer than 4 million columns. */
const LARGEST = 2047;

/**
 * Where a bin begins: |x| in units of 2^-10. Bins double their width fourfold at |x| = 1, 3, 7, 15 …, where 1 + |x| is the next
 * power of two: octave o has 2^(10-o) bins of 4^o units. So they are fine where values of RMS 1 crowd and coarse far out, and no
 * outlier, however large, takes resolution from the rest.
 */
const octaveOf = (bin: number): number => Math.clz32(SIDE_BINS - 1 - bin) - 21;
const firstBin = (octave: number): number => SIDE_BINS - (SIDE_BINS >> octave);
const START = Float64Array.from({ length: SIDE_BINS }, (_, bin) => {
  const octave = octaveOf(bin);
  return (2 ** octave - 1) * 1024 + (bin - firstBin(octave)) * 4 ** octave;
});
const WIDTH = Float64Array.from(START, (_, bin) => 4 ** octaveOf(bin));

/**
 * What a value in each bin weighs in a block of 4 bits, [SIDE_BINS]: sqrt(1 + |x|), x the bin's middle. Large weights tend to meet
 * large activations, so an error on them costs more than its square: on the sample model the emphasis gives 2 % more squared error, and
 * perplexity 98 where it was 114 without it and 110 with 1 + |x| (48 in f32; 1,024 tokens of text A, mean of two rotations, data-free).
 * Fewer entries cannot afford it: in a study with error feedback all linears at 3 bits came to 65 on text A without and 67 with it.
 */
export const EMPHASIS = Float32Array.from(START, (start, bin) => Math.sqrt(1 + (start + WIDTH[bin] / 2) / 1024));

/** A block's values by bin, rising: -x of side bin b is in SIDE_BINS - 1 - b, x of it in SIDE_BINS + b. */
export interface Histogram {
  /** [BINS], whole numbers that add up to less than 2^28. */
  readonly weight: Uint32Array;
  /** [BINS], sum of weight * how far into its bin, away from zero, a value lies: 0 to 1. */
  readonly inside: Uint32Array;
}

export const makeHistogram = (): Histogram => ({ weight: new Uint32Array(BINS), inside: new Uint32Array(BINS) });

/** How much each column counts, in 8 significant bits: what moments differ by from device to device leaves no trace. */
export function columnImportance(columnWeights: Float32Array): Float32Array {
  const importance = columnWeights.slice();
  const bits = new Uint32Array(importance.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] + 0x8000) & 0xffff0000;
  return importance;
}

/**
 * Factors for the rows `top ..< bottom` of `values` [rows, cols] with which the block's weights stay below 2^28 together: the
 * emphasis of x is at most 1 + |x| / 2, and |x| adds up to what Cauchy and Schwarz allow.
 * @param rowWeights [bottom - top], how much each row counts.
 * @param importance [cols], `columnImportance`; absent: all columns count alike.
 */
export function scaleRowWeights(
  values: Float32Array,
  [top, bottom]: readonly [top: number, bottom: number],
  cols: number,
  rowWeights: ArrayLike<number>,
  importance?: Float32Array,
): Float32Array {
  let sum = importance ? 0 : cols;
  let squares = importance ? 0 : cols;
  for (const weight of importance ?? []) {
    sum += weight;
    squares += weight * weight;
  }
  let most = 0;
  for (let r = top; r < bottom; r++) {
    let norm = 0;
    for (let i = r * cols; i < (r + 1) * cols; i++) norm += Math.min(values[i] * values[i], LARGEST ** 2);
    most += rowWeights[r - top] * (sum + Math.sqrt(squares * norm) / 2);
  }
  // An eighth to spare: the middle of a bin may be further out than the value.
  const scale = most > 0 ? (0.875 * TOTAL_WEIGHT) / most : 0;
  return Float32Array.from({ length: bottom - top }, (_, r) => rowWeights[r] * scale);
}

/**
 * The histogram of the rows `top ..< bottom` of `values` [rows, cols].
 * @param width Of the block's codes: at 4 bits values have EMPHASIS.
 * @param scaledWeights `scaleRowWeights`' of these rows: a row that has 0 is not there.
 */
export function fillHistogram(
  { weight, inside }: Histogram,
  values: Float32Array,
  [top, bottom]: readonly [top: number, bottom: number],
  cols: number,
  width: number,
  scaledWeights: Float32Array,
  importance?: Float32Array,
): void {
  weight.fill(0);
  inside.fill(0);
  const { abs, clz32, floor, fround, min } = Math;
  for (let r = top; r < bottom; r++) {
    const rowWeight = scaledWeights[r - top];
    if (rowWeight === 0) continue;
    for (let c = 0, i = r * cols; c < cols; c++, i++) {
      const x = values[i];
      const v = (min(abs(x), LARGEST) * 2 ** FIXED_BITS + 2 ** FIXED_BITS) | 0;
      const octave = 31 - FIXED_BITS - clz32(v);
      const shift = FIXED_BITS - 10 + 2 * octave;
      const along = v - (1 << (FIXED_BITS + octave));
      const bin = SIDE_BINS - (SIDE_BINS >> octave) + (along >> shift);
      const part = (along >> (shift - 8)) & 255;
      const emphasized = width === 4 ? fround(rowWeight * EMPHASIS[bin]) : rowWeight;
      const w = (importance ? fround(emphasized * importance[c]) : emphasized) | 0;
      const at = x < 0 ? SIDE_BINS - 1 - bin : SIDE_BINS + bin;
      weight[at] += w;
      inside[at] += floor((w * part) / 256);
    }
  }
}

/** Sums over bins from the first on: [BINS + 1]. */
const sumW = new Float64Array(BINS + 1);
/** Of weight * x, in units of 2^-10. */
const sumX = new Float64Array(BINS + 1);

/**
 * The palette of least weighted squared error: `entries` sorted values, each exact in f16. Where there are fewer bins with values than entries,
 * the largest is repeated; an empty histogram gives zeros.
 */
export function clusterHistogram({ weight, inside }: Histogram, entries: number): Float32Array {
  let filled = 0;
  let magnitude = 0;
  let farthest = 0;
  for (let i = 0; i < BINS; i++) {
    const bin = i < SIDE_BINS ? SIDE_BINS - 1 - i : i - SIDE_BINS;
    const x = weight[i] * START[bin] + inside[i] * WIDTH[bin];
    sumW[i + 1] = sumW[i] + weight[i];
    sumX[i + 1] = sumX[i] + (i < SIDE_BINS ? -x : x);
    magnitude += x;
    if (weight[i] === 0) continue;
    filled++;
    farthest = Math.max(farthest, START[bin] + WIDTH[bin]);
  }
  const palette = new Int32Array(entries);
  if (filled > entries) refine(palette, bestPartition(entries, magnitude, farthest));
  else keepAll(weight, palette);
  return Float32Array.from(palette, (entry) => roundToF16(entry / 2 ** FIXED_BITS));
}

/** Mean of the bins i ..< j in fixed point, towards zero. */
const meanOf = (i: number, j: number): number => Math.trunc(((sumX[j] - sumX[i]) * 2 ** (FIXED_BITS - 10)) / (sumW[j] - sumW[i]));

function keepAll(weight: Uint32Array, palette: Int32Array): void {
  let k = 0;
  for (let i = 0; i < BINS; i++) if (weight[i] > 0) palette[k++] = meanOf(i, i + 1);
  if (k > 0) palette.fill(palette[k - 1], k);
}

const bitLength = (n: number): number => (n < 2 ** 32 ? 32 - Math.clz32(n) : 64 - Math.clz32(n / 2 ** 32));

/** What a part from run i to before run j takes away from the sum of w x^2, at j (j - 1) / 2 + i. */
const gains = new Int32Array((RUNS * (RUNS + 1)) / 2);
/** [entries + 1, RUNS + 1]: where the last part of the best partition of the runs before j begins. */
const cuts = new Uint8Array(17 * (RUNS + 1));

/**
 * Borders in bins, [entries + 1], of the partition of runs with the largest sum of (sum of w x)^2 / sum of w, that is the least
 * squared error. The first of equally good borders counts.
 * @param magnitude Sum of w |x|.
 * @param farthest Where the outermost bin that is filled ends.
 */
function bestPartition(entries: number, magnitude: number, farthest: number): Int32Array {
  const [first, last] = filledRuns(entries);
  // |sum of w x| in 28 bits, times the mean in 25, is exact; 22 bits less, all gains together stay below 2^31.
  const sumScale = 2 ** -Math.max(0, bitLength(magnitude) - 28);
  const meanScale = 2 ** (25 - bitLength(farthest));
  const { abs, floor } = Math;
  for (let j = first + 1; j <= last; j++) {
    const [endX, endW] = [sumX[j * RUN_BINS], sumW[j * RUN_BINS]];
    for (let i = first; i < j; i++) {
      const x = abs(endX - sumX[i * RUN_BINS]);
      const w = endW - sumW[i * RUN_BINS];
      gains[(j * (j - 1)) / 2 + i] = w > 0 ? floor((floor(x * sumScale) * floor((x * meanScale) / w)) / 2 ** 22) : 0;
    }
  }
  let before = new Int32Array(RUNS + 1);
  for (let j = first + 1; j <= last; j++) before[j] = gains[(j * (j - 1)) / 2 + first];
  let best = new Int32Array(RUNS + 1);
  for (let part = 2; part <= entries; part++) {
    for (let j = first + part; j <= last; j++) {
      const row = (j * (j - 1)) / 2;
      let most = -1;
      let cut = 0;
      for (let i = first + part - 1; i < j; i++) {
        const gain = before[i] + gains[row + i];
        if (gain > most) {
          most = gain;
          cut = i;
        }
      }
      best[j] = most;
      cuts[part * (RUNS + 1) + j] = cut;
    }
    [before, best] = [best, before];
  }
  const borders = new Int32Array(entries + 1);
  borders[entries] = BINS;
  for (let part = entries, j = last; part > 1; part--) {
    j = cuts[part * (RUNS + 1) + j];
    borders[part - 1] = j * RUN_BINS;
  }
  return borders;
}

/** From the first run that has a weight to behind the last, as many as there are entries at least. */
function filledRuns(entries: number): [first: number, last: number] {
  let first = 0;
  while (sumW[(first + 1) * RUN_BINS] === 0) first++;
  let last = RUNS;
  while (sumW[(last - 1) * RUN_BINS] === sumW[BINS]) last--;
  last = Math.min(RUNS, Math.max(last, first + entries));
  return [Math.min(first, last - entries), last];
}

/**
 * Lloyd's iteration until no border moves: each entry becomes the mean of the bins nearest to it. An entry that has none stays
 * where it was.
 */
function refine(palette: Int32Array, borders: Int32Array): void {
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    for (let k = 0; k < palette.length; k++) {
      if (sumW[borders[k]] < sumW[borders[k + 1]]) palette[k] = meanOf(borders[k], borders[k + 1]);
      if (k > 0) palette[k] = Math.max(palette[k], palette[k - 1]);
    }
    let moved = false;
    for (let k = 1; k < palette.length; k++) {
      const border = borderAt((palette[k - 1] + palette[k]) >> 1);
      moved ||= border !== borders[k];
      borders[k] = border;
    }
    if (!moved) return;
  }
}

/** The edge between bins that is nearest to a fixed-point value. */
function borderAt(value: number): number {
  const v = (1 << FIXED_BITS) + Math.abs(value);
  const octave = 31 - Math.clz32(v) - FIXED_BITS;
  const width = FIXED_BITS - 10 + 2 * octave;
  const edge = firstBin(octave) + ((v - (1 << (FIXED_BITS + octave)) + (1 << (width - 1))) >> width);
  return value < 0 ? SIDE_BINS - edge : SIDE_BINS + edge;
}
