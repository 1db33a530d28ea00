/** Blocks of 16 rows to codes and palettes, each on its own: row scales, k-means, assignment. */
import { f16ToF32, f32ToF16 } from "../formats/f16";
import { PALETTE_ROWS } from "../formats/palettized";
import { chooseCodes, chooseElasticCodes } from "./choose-codes";
import { type Assigned, type InputMetric, keptCode } from "./feedback";
import { makeHistogram } from "./kmeans";

/** What neighbouring blocks of a linear became. It holds arrays only, and nothing in it is summed over blocks: threads can share a linear. */
export interface CodedBlocks {
  /** [blocks], 2, 3 or 4. */
  bits: Uint8Array;
  /** [rows, cols] row-major, columns in their own order; in a block of b bits each is below 2^b. */
  codes: Uint8Array;
  /** f16 [blocks, 28]: 16 entries of 4 bits, 8 of 3, 4 of 2; zeros where a block has no palette of that width. */
  palettes: Uint16Array;
  /** f16 [blocks * 16]; rows of padding have scale 0. */
  rowScale: Uint16Array;
  /** f16 [rows, kept columns, rising]: what codes there lack. */
  kept: Uint16Array;
  /** [blocks], sum over all weights of (weight - what stands for it)^2. */
  squaredErrors: Float64Array;
  /** [blocks], sum over all weights of weight^2. */
  squaredNorms: Float64Array;
  /** [blocks], e H e^T over the rows, e the error, H the damped moments X^T X. Zeros without `inputs`. */
  outputErrors: Float64Array;
}

export const PALETTE_ENTRIES = 28;
/** Where a width's palette begins in a block's 28 entries. */
export const paletteAt = (width: number): number => 32 - 2 ** (width + 1);

const MAX_F16 = 65504;

/**
 * A weight becomes palette[code] * scale, scale the RMS of its row in f16. Palettes minimise the error of the weights
 * themselves, so in k-means a row weighs scale^2; there large values weigh a little more yet (see kmeans.ts).
 * @param weight [rows, cols], finite. It is overwritten.
 * @param bits [ceil(rows / 16)].
 * @param inputs Columns count by how much their input moves, and codes are chosen with error feedback. Absent: all columns are
 *   alike and codes are the nearest entries.
 * @param elastic Codes are made so that they can be cut, and there are palettes for those that are (choose-codes.ts).
 */
export function codeBlocks(
  weight: Float32Array,
  bits: Uint8Array,
  cols: number,
  inputs?: InputMetric,
  elastic = false,
): CodedBlocks {
  const coded = uncodedBlocks(bits, weight.length / cols, cols, inputs?.kept);
  const histogram = makeHistogram();
  for (let block = 0; block < bits.length; block++) {
    const normalized = normalizeBlock(coded, block, weight, cols, inputs);
    const choose = elastic ? chooseElasticCodes : chooseCodes;
    finishBlock(coded, block, normalized, choose(normalized, bits[block], inputs, histogram), inputs);
  }
  return coded;
}

export function uncodedBlocks(bits: Uint8Array, rows: number, cols: number, kept = 0): CodedBlocks {
  return {
    bits,
    codes: new Uint8Array(rows * cols),
    palettes: new Uint16Array(bits.length * PALETTE_ENTRIES),
    rowScale: new Uint16Array(bits.length * PALETTE_ROWS),
    kept: new Uint16Array(rows * kept),
    squaredErrors: new Float64Array(bits.length),
    squaredNorms: new Float64Array(bits.length),
    outputErrors: new Float64Array(bits.length),
  };
}

export interface NormalizedBlock {
  /** [rows, cols], each row divided by its scale, columns in the metric's order. */
  values: Float32Array;
  /** [rows]: how much each row counts in k-means. */
  squaredScales: Float64Array;
}

/** Row scales. @param weight [rows, cols] of all blocks. It is overwritten. */
export function normalizeBlock(
  coded: CodedBlocks,
  block: number,
  weight: Float32Array,
  cols: number,
  inputs?: InputMetric,
): NormalizedBlock {
  const rows = weight.subarray(block * PALETTE_ROWS * cols, (block + 1) * PALETTE_ROWS * cols);
  const squaredScales = normalizeRows(coded, block, rows, cols);
  return { values: inputs ? reordered(rows, inputs.order) : rows, squaredScales };
}

export interface ChosenCodes extends Partial<Assigned> {
  /** [2^bits] */
  palette: Float32Array;
  /** For codes without their last bit, without two and so on; absent where there are none. */
  narrower?: readonly Float32Array[];
  /** [rows, cols], columns in the metric's order. */
  codes: Uint8Array;
}

/** Columns back in their own order, what kept columns lack, and the errors. */
export function finishBlock(
  coded: CodedBlocks,
  block: number,
  { values, squaredScales }: NormalizedBlock,
  { palette, narrower = [], codes: inOrder, outputErrors, keptValues }: ChosenCodes,
  inputs?: InputMetric,
): void {
  for (const [less, entries] of [palette, ...narrower].entries())
    coded.palettes.set(Uint16Array.from(entries, f32ToF16), block * PALETTE_ENTRIES + paletteAt(coded.bits[block] - less));
  coded.squaredErrors[block] += errorOf(values, inOrder, palette, squaredScales, keptValues);
  const rows = squaredScales.length;
  const cols = values.length / rows;
  const first = block * PALETTE_ROWS;
  const codes = coded.codes.subarray(first * cols, (first + rows) * cols);
  if (!inputs || !outputErrors || !keptValues) {
    codes.set(inOrder);
    return;
  }
  const { order, kept } = inputs;
  const columns = keptColumns(inputs);
  for (let r = 0; r < rows; r++) {
    coded.outputErrors[block] += squaredScales[r] * outputErrors[r];
    for (let i = 0; i < cols; i++) codes[r * cols + order[i]] = inOrder[r * cols + i];
    for (let i = 0; i < kept; i++) {
      const lacking = (keptValues[r * kept + i] - palette[keptCode(palette.length)]) * f16ToF32(coded.rowScale[first + r]);
      const j = columns.indexOf(order[cols - kept + i]);
      coded.kept[(first + r) * kept + j] = f32ToF16(Math.max(-MAX_F16, Math.min(MAX_F16, lacking)));
    }
  }
}

/** The kept columns, rising, as files have them. */
export const keptColumns = ({ order, kept }: InputMetric): Uint32Array => order.slice(order.length - kept).sort();

/** Divides each row by its scale, which it sets. Returns the squares of the scales. */
function normalizeRows(coded: CodedBlocks, block: number, weight: Float32Array, cols: number): Float64Array {
  return Float64Array.from({ length: weight.length / cols }, (_, r) => {
    const row = weight.subarray(r * cols, (r + 1) * cols);
    const norm = row.reduce((sum, x) => sum + x * x, 0);
    const half = f32ToF16(Math.min(MAX_F16, Math.sqrt(norm / cols)));
    const scale = f16ToF32(half);
    coded.rowScale[block * PALETTE_ROWS + r] = half;
    coded.squaredNorms[block] += norm;
    // A row too small for f16 becomes zero, whatever its codes.
    if (scale === 0) coded.squaredErrors[block] += norm;
    for (let c = 0; c < cols; c++) row[c] = scale === 0 ? 0 : row[c] * (1 / scale);
    return scale * scale;
  });
}

/** Columns of values [rows, cols] in another order. */
function reordered(values: Float32Array, order: Uint32Array): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < values.length; row += order.length)
    for (let i = 0; i < order.length; i++) result[row + i] = values[row + order[i]];
  return result;
}

/** Sum of (value - what stands for it)^2, each row's times its squared scale. The last columns are those of `keptValues`. */
function errorOf(
  values: Float32Array,
  codes: Uint8Array,
  palette: Float32Array,
  squaredScales: Float64Array,
  keptValues: Float32Array = new Float32Array(0),
): number {
  const cols = values.length / squaredScales.length;
  const kept = keptValues.length / squaredScales.length;
  return squaredScales.reduce((total, squaredScale, r) => {
    let sum = 0;
    for (let i = r * cols; i < (r + 1) * cols - kept; i++) sum += (values[i] - palette[codes[i]]) ** 2;
    for (let j = 0; j < kept; j++) sum += (values[(r + 1) * cols - kept + j] - keptValues[r * kept + j]) ** 2;
    return total + squaredScale * sum;
  }, 0);
}
