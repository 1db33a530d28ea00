/**
 * Error feedback along the columns of a linear (GPTQ, arXiv 2210.17323), with the palette fixed: each column's rounding error is
 * passed on to the columns that are still to come, weighted so that the layer's output changes least on inputs of the given
 * second moments.
 */
import { Feedback } from "../compute/feedback";
import { inverseFactor } from "../compute/inverse-factor";
import { columnImportance } from "./kmeans";

/** What palettizing a linear has to know of its inputs. */
export interface InputMetric {
  /**
   * [cols]: the column that is coded first, second and so on. Those whose inputs move most come first, while there are many to take
   * their errors; on the sample model that takes away a seventh of the output's error at 3 bits.
   */
  order: Uint32Array;
  /** How many columns at the end of `order` are kept: those that move most of all. They take what the others pass on, exactly. */
  kept: number;
  /** `inverseFactor` of the moments in that order, [cols, cols]. */
  factor: Float32Array;
  /** [cols], in that order: how much an error in each column counts for the palette, mean about 1; nothing where it is kept. */
  columnWeights: Float32Array;
}

const DAMPING = 0.01;

/**
 * @param moments Second moments X^T X of the inputs, [cols, cols].
 * @param kept Columns to keep.
 */
export function inputMetric(moments: Float32Array, cols: number, kept = 0): InputMetric {
  let trace = 0;
  for (let c = 0; c < cols; c++) trace += moments[c * cols + c];
  // An input that never moved keeps a little weight, so that no palette ignores its column.
  const weights = Float32Array.from(
    { length: cols },
    (_, c) => (trace > 0 ? (moments[c * cols + c] * cols) / trace : 1) + DAMPING,
  );
  // Rounded, so that columns that move alike keep their order wherever the moments were summed.
  const importance = columnImportance(weights);
  const falling = Uint32Array.from(weights.keys()).sort((a, b) => importance[b] - importance[a] || a - b);
  const order = new Uint32Array(cols);
  order.set(falling.subarray(kept));
  order.set(falling.subarray(0, kept), cols - kept);
  const ordered = new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) {
    const row = order[i] * cols;
    for (let j = 0; j < cols; j++) ordered[i * cols + j] = moments[row + order[j]];
  }
  return {
    order,
    kept,
    factor: inverseFactor(ordered, cols, DAMPING),
    columnWeights: Float32Array.from(order, (c, i) => (i < cols - kept ? weights[c] : 0)),
  };
}

/** The code of a kept column. At any width it is the entry above the palette's middle, so that fewer bits change it little. */
export const keptCode = (entries: number): number => entries / 2;

/** Halfway between neighbours: a value above border k is nearer to entry k + 1, one on it goes to k. */
export const bordersOf = (palette: Float32Array): Float32Array =>
  Float32Array.from({ length: palette.length - 1 }, (_, k) => (palette[k] + palette[k + 1]) / 2);

/**
 * Index of the entry nearest to x, the lower one of two equally near.
 * @param borders `bordersOf` a palette of 2^b.
 * @param prefix All bits but the last; absent where any entry will do.
 */
export function nearestCode(x: number, borders: Float32Array, prefix?: number): number {
  if (prefix !== undefined) return 2 * prefix + (x > borders[2 * prefix] ? 1 : 0);
  let code = 0;
  for (let step = (borders.length + 1) >> 1; step >= 1; step >>= 1) if (x > borders[code + step - 1]) code += step;
  return code;
}

export interface Assigned {
  /**
   * [rows]: e H e^T of each row, e = its values less what stands for them, H the damped moments. It costs nothing: with g the
   * errors that were passed on, e = g U, and U H U^T = 1, so it is the sum of g^2.
   */
  outputErrors: Float64Array;
  /** [rows, kept]: what kept columns came to. */
  keptValues: Float32Array;
}

/**
 * Codes of at most 16 rows, chosen column by column with feedback.
 * @param values [rows, cols], columns in the metric's order. They stay.
 * @param palette [2^b], rising.
 * @param codes [rows, cols], in the same order, to be filled.
 * @param prefixes [rows, cols], see `nearestCode`.
 * @param met [rows, cols], to be filled with what each value had become when it was coded.
 */
export function assignWithFeedback(
  values: Float32Array,
  palette: Float32Array,
  codes: Uint8Array,
  { order: { length: cols }, kept, factor }: Pick<InputMetric, "order" | "kept" | "factor">,
  { prefixes, met }: { prefixes?: Uint8Array; met?: Float32Array } = {},
): Assigned {
  const rows = values.length / cols;
  const coded = cols - kept;
  const borders = bordersOf(palette);
  const keptValues = new Float32Array(rows * kept);
  const outputErrors = new Feedback(factor, cols).run(values, (column, x, errors) => {
    for (let row = 0; row < rows; row++) {
      const isKept = column >= coded;
      const at = row * cols + column;
      const code = isKept ? keptCode(palette.length) : nearestCode(x[row], borders, prefixes?.[at]);
      codes[at] = code;
      if (met) met[at] = x[row];
      errors[row] = isKept ? 0 : x[row] - palette[code];
      if (isKept) keptValues[row * kept + column - coded] = x[row];
    }
  });
  return { outputErrors, keptValues };
}
