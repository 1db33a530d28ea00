/** One linear to palettes, data-free: row scales, k-means on each block of 16 rows, nearest entries, planes. */
import { f16ToF32, f32ArrayToF16, f32ToF16 } from "../formats/f16";
import { PALETTE_ROWS } from "../formats/palettized";
import type { PalettizedLinear } from "../formats/palettized-linear";
import { assignWithFeedback, type InputMetric } from "./feedback";
import { clusterHistogram, columnImportance, fillHistogram, makeHistogram, scaleRowWeights } from "./kmeans";
import { packPlanes } from "./planes";

export interface PalettizedResult {
  linear: PalettizedLinear;
  /** Sum over all weights of (weight - what its code stands for)^2. */
  squaredError: number;
  /** Sum over all weights of weight^2. */
  squaredNorm: number;
  /**
   * For each block, how much its error moves the layer's output: e H e^T over its rows, H the damped moments X^T X. Zeros without
   * `inputs`. Blocks are coded independently, so that another width for one of them leaves the others' as they are.
   */
  outputErrors: Float64Array;
}

const MAX_F16 = 65504;

/**
 * A weight becomes palette[code] * scale, scale the RMS of its row in f16. Palettes minimise the error of the weights
 * themselves, so in k-means a row weighs scale^2; there large values weigh a little more yet (see kmeans.ts).
 * @param weight [rows, cols], finite. It is overwritten with the normalised values.
 * @param bits [ceil(rows / 16)], 2, 3 or 4 for each block.
 * @param inputs Columns count by how much their input moves, and codes are chosen with error feedback. Absent: all columns are
 *   alike and codes are the nearest entries.
 */
export function palettizeLinear(
  weight: Float32Array,
  bits: Uint8Array,
  rows: number,
  cols: number,
  inputs?: InputMetric,
): PalettizedResult {
  const rowScale = new Uint16Array(bits.length * PALETTE_ROWS);
  const codes = new Uint8Array(rows * cols);
  const palettes: Record<number, number[]> = { 2: [], 3: [], 4: [] };
  const histogram = makeHistogram();
  const importance = inputs && columnImportance(inputs.columnWeights);
  const outputErrors = new Float64Array(bits.length);
  let squaredError = 0;
  let squaredNorm = 0;
  for (let block = 0; block < bits.length; block++) {
    const top = block * PALETTE_ROWS;
    const bottom = Math.min(rows, top + PALETTE_ROWS);
    const rowWeights = new Float64Array(bottom - top);
    for (let r = top; r < bottom; r++) {
      const norm = squaredSum(weight, r * cols, (r + 1) * cols);
      squaredNorm += norm;
      rowScale[r] = f32ToF16(Math.min(MAX_F16, Math.sqrt(norm / cols)));
      const scale = f16ToF32(rowScale[r]);
      // A row too small for f16 becomes zero, whatever its codes.
      const inverse = scale === 0 ? 0 : 1 / scale;
      for (let i = r * cols; i < (r + 1) * cols; i++) weight[i] *= inverse;
      if (scale === 0) squaredError += norm;
      rowWeights[r - top] = scale * scale;
    }
    const span = [top, bottom] as const;
    const scaled = scaleRowWeights(weight, span, cols, rowWeights, importance);
    fillHistogram(histogram, weight, span, cols, scaled, importance);
    const palette = clusterHistogram(histogram, 1 << bits[block]);
    palettes[bits[block]].push(...palette);
    const rowErrors = inputs && assignWithFeedback(weight, palette, codes, [top, bottom], cols, inputs.factor);
    for (let r = top; r < bottom; r++) {
      const [from, to] = [r * cols, (r + 1) * cols];
      const error = inputs ? errorOf(weight, palette, codes, from, to) : assignNearest(weight, palette, codes, from, to);
      const squaredScale = f16ToF32(rowScale[r]) ** 2;
      squaredError += squaredScale * error;
      if (rowErrors) outputErrors[block] += squaredScale * rowErrors[r - top];
    }
  }
  const halves = (width: number) => (palettes[width].length ? f32ArrayToF16(palettes[width]) : undefined);
  return {
    linear: {
      ...packPlanes(codes, bits, rows, cols),
      palette4: halves(4),
      palette3: halves(3),
      palette2: halves(2),
      rowScale,
    },
    squaredError,
    squaredNorm,
    outputErrors,
  };
}

/** Sum of (value - entry)^2 for codes that are chosen already. */
function errorOf(values: Float32Array, palette: Float32Array, codes: Uint8Array, from: number, to: number): number {
  let error = 0;
  for (let i = from; i < to; i++) error += (values[i] - palette[codes[i]]) ** 2;
  return error;
}

function squaredSum(values: Float32Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += values[i] * values[i];
  return sum;
}

/**
 * codes[i] = index of the entry nearest to values[i], the lower one of two equally near.
 * @param palette [2^b], rising.
 * @returns the sum of (value - entry)^2.
 */
export function assignNearest(values: Float32Array, palette: Float32Array, codes: Uint8Array, from: number, to: number): number {
  const half = palette.length / 2;
  const borders = Float32Array.from({ length: palette.length - 1 }, (_, k) => (palette[k] + palette[k + 1]) / 2);
  let error = 0;
  for (let i = from; i < to; i++) {
    const x = values[i];
    let code = 0;
    for (let step = half; step >= 1; step >>= 1) if (x > borders[code + step - 1]) code += step;
    codes[i] = code;
    error += (x - palette[code]) ** 2;
  }
  return error;
}
