/** What stands for a block's values: its palette, and codes. */
import { roundToF16 } from "../formats/f16";
import type { ChosenCodes, NormalizedBlock } from "./blocks";
import { assignWithFeedback, bordersOf, type InputMetric, nearestCode } from "./feedback";
import { clusterHistogram, columnImportance, fillHistogram, type Histogram, scaleRowWeights } from "./kmeans";

/**
 * K-means, then assignment.
 * @param inputs Absent: codes are the nearest entries, without feedback.
 * @param histogram Any; it is overwritten.
 */
export function chooseCodes(
  block: NormalizedBlock,
  width: number,
  inputs: InputMetric | undefined,
  histogram: Histogram,
): ChosenCodes {
  return assign(block.values, cluster(block, width, inputs, histogram), inputs);
}

/**
 * Codes that can be cut: those of at most 3 bits are chosen as though there were no more, then a fourth bit with feedback of its own,
 * the others fixed. The palette for 2 bits of more has means of the entries that share a code.
 */
export function chooseElasticCodes(
  block: NormalizedBlock,
  width: number,
  inputs: InputMetric | undefined,
  histogram: Histogram,
): ChosenCodes {
  if (width === 2) return chooseCodes(block, width, inputs, histogram);
  const met = block.values.slice();
  const first = assign(block.values, cluster(block, 3, inputs, histogram), inputs, { met });
  const weights = weightsOf(block, inputs);
  const palette2 = pairMeans(first, weights);
  if (width === 3) return { ...first, narrower: [palette2] };
  const chosen = assign(block.values, splitPalette(first, met, weights), inputs, { prefixes: first.codes });
  return { ...chosen, narrower: [first.palette, palette2] };
}

function cluster(
  { values, squaredScales }: NormalizedBlock,
  width: number,
  inputs: InputMetric | undefined,
  histogram: Histogram,
): Float32Array {
  const cols = values.length / squaredScales.length;
  const importance = inputs && columnImportance(inputs.columnWeights);
  const rows = [0, squaredScales.length] as const;
  fillHistogram(histogram, values, rows, cols, width, scaleRowWeights(values, rows, cols, squaredScales, importance), importance);
  return clusterHistogram(histogram, 1 << width);
}

function assign(
  values: Float32Array,
  palette: Float32Array,
  inputs: InputMetric | undefined,
  options: Parameters<typeof assignWithFeedback>[4] = {},
): ChosenCodes {
  const codes = new Uint8Array(values.length);
  if (inputs) return { palette, codes, ...assignWithFeedback(values, palette, codes, inputs, options) };
  const borders = bordersOf(palette);
  for (let i = 0; i < values.length; i++) codes[i] = nearestCode(values[i], borders, options.prefixes?.[i]);
  return { palette, codes };
}

/** [rows, cols]: how much an error counts for a palette. */
function weightsOf({ values, squaredScales }: NormalizedBlock, inputs: InputMetric | undefined): Float32Array {
  const cols = values.length / squaredScales.length;
  return values.map((_, i) => squaredScales[Math.floor(i / cols)] * (inputs?.columnWeights[i % cols] ?? 1));
}

/** Of each two entries, weighted by what they stand for: a palette for codes without their last bit. */
function pairMeans({ palette, codes }: ChosenCodes, weights: Float32Array): Float32Array {
  const sums = new Float64Array(palette.length);
  codes.forEach((code, i) => {
    sums[code] += weights[i];
  });
  return Float32Array.from({ length: palette.length / 2 }, (_, pair) => {
    const [low, high] = [sums[2 * pair], sums[2 * pair + 1]];
    const share = low + high > 0 ? high / (low + high) : 0.5;
    return roundToF16(palette[2 * pair] * (1 - share) + palette[2 * pair + 1] * share);
  });
}

/** Lloyd's iterations of `splitPalette`; two means settle in a few. */
const SPLIT_ITERATIONS = 8;
const MAX_F16 = 65504;

/**
 * Two entries for each code: the means of the lower and the upper part of the values that had it, as they were when they were coded.
 * The best 16 entries of the block, though near, leave 40 % more output error on the sample model: their parts are not those of the codes.
 */
function splitPalette({ palette, codes }: ChosenCodes, met: Float32Array, weights: Float32Array): Float32Array {
  let borders: Float32Array = palette;
  let split = new Float32Array(2 * palette.length);
  for (let iteration = 0; iteration < SPLIT_ITERATIONS; iteration++) {
    const weight = new Float64Array(split.length);
    const moment = new Float64Array(split.length);
    codes.forEach((code, i) => {
      const half = 2 * code + (met[i] > borders[code] ? 1 : 0);
      weight[half] += weights[i];
      moment[half] += weights[i] * met[i];
    });
    split = Float32Array.from(weight, (sum, half) => (sum > 0 ? moment[half] / sum : palette[half >> 1]));
    borders = palette.map((_, code) => (split[2 * code] + split[2 * code + 1]) / 2);
  }
  return split.map((entry) => roundToF16(Math.max(-MAX_F16, Math.min(MAX_F16, entry))));
}
