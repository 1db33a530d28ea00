/**
 * Rows of a linear, coded column by column, each column's error passed on to those that are still to come (GPTQ, arXiv 2210.17323).
 * Inside a panel of columns errors are passed on at once, to the columns behind it when the panel is done, in the same order: a
 * value's differences are the same, but most of them are one product of matrices.
 */
import { type Kernel, kernelFor, LANES } from "./kernel";

/** Rows that run together. */
export const FEEDBACK_ROWS = 2 * LANES;
/** Columns of a panel. */
const PANEL = 32;
/** Floats between two rows of the factor are an odd number of cache lines, lest all rows of a panel meet in the same few sets. */
const LINE = 16;

/**
 * Chooses what stands for a column.
 * @param x [16], the column as it stands: its values less what was passed on. Lanes without a row hold zeros.
 * @param errors [16], to be filled: x less what stands for it, in f32. Lanes without a row count for nothing.
 */
export type ChooseColumn = (column: number, x: Float32Array, errors: Float32Array) => void;

export class Feedback {
  private readonly stride: number;
  private readonly inverse: Float32Array;
  private readonly x = new Float32Array(FEEDBACK_ROWS);
  private readonly errors = new Float32Array(FEEDBACK_ROWS);

  /** @param factor Upper triangular, [cols, cols]; it must not change while this is in use. */
  constructor(
    private readonly factor: Float32Array,
    readonly cols: number,
    private readonly using: Kernel = kernelFor("feedback"),
  ) {
    this.stride = (Math.ceil(cols / LINE) | 1) * LINE;
    this.inverse = Float32Array.from({ length: cols }, (_, j) => 1 / factor[j * cols + j]);
  }

  /**
   * For each column j, in order: g = errors * inverse[j], then every column k > j of the row loses g * factor[j, k]; f32, each
   * product and each difference rounded.
   * @param values [rows, cols] of 1 to 16 rows; they stay.
   * @returns [rows], the sum of g^2 of each row, in f64.
   */
  run(values: Float32Array, choose: ChooseColumn): Float64Array {
    const { cols, stride, inverse, x, errors, using } = this;
    const rows = values.length / cols;
    const depth = cols + LANES;
    const atWork = cols * stride;
    const atErrors = atWork + 2 * depth * LANES;
    const memory = using.reserve(atErrors + 2 * PANEL * LANES);
    this.load(memory);
    memory.fill(0, atWork, atErrors + 2 * PANEL * LANES);
    for (let r = 0; r < rows; r++) {
      const to = atWork + (r >= LANES ? depth * LANES - LANES : 0) + r;
      for (let c = 0; c < cols; c++) memory[to + c * LANES] = values[r * cols + c];
    }
    const sums = new Float64Array(rows);
    for (let from = 0; from < cols; from += PANEL) {
      const behind = Math.min(cols, from + PANEL);
      for (let j = from; j < behind; j++) {
        const low = atWork + j * LANES;
        const high = low + depth * LANES;
        for (let lane = 0; lane < LANES; lane++) {
          x[lane] = memory[low + lane];
          x[LANES + lane] = memory[high + lane];
        }
        choose(j, x, errors);
        const to = atErrors + (j - from) * LANES;
        for (let lane = 0; lane < rows; lane++) {
          const g = Math.fround(errors[lane] * inverse[j]);
          sums[lane] += g * g;
          // Adding the product with -g is subtracting that with g, to the bit.
          memory[to + (lane < LANES ? lane : PANEL * LANES - LANES + lane)] = -g;
        }
        // Starting at a multiple of 4, some columns that are done change with it; nobody looks at them again.
        const next = (j + 1) & -4;
        if (next < behind) this.passOn(atWork, depth, atErrors, [j, 1], j - from, [next, behind]);
      }
      if (behind < cols) this.passOn(atWork, depth, atErrors, [from, behind - from], 0, [behind, cols]);
    }
    return sums;
  }

  /** The errors of `count` columns from j on, the first of them the panel's `first`, to the columns left ..< right. */
  private passOn(
    atWork: number,
    depth: number,
    atErrors: number,
    [j, count]: readonly [number, number],
    first: number,
    [left, right]: readonly [number, number],
  ): void {
    const { stride, using } = this;
    for (let half = 0; half < 2; half++) {
      const errors = atErrors + (half * PANEL + first) * LANES;
      using.accumulate(j * stride + left, 1, stride, errors, atWork + (half * depth + left) * LANES, right - left, count);
    }
  }

  private load(memory: Float32Array): void {
    const { factor, cols, stride, using } = this;
    if (resident.get(using) === factor) return;
    for (let j = 0; j < cols; j++) {
      memory.set(factor.subarray(j * cols + j, (j + 1) * cols), j * stride + j);
      // Read with the column to its right, and added to nothing that counts.
      memory.fill(0, j * stride + cols, (j + 1) * stride);
    }
    resident.set(using, factor);
  }
}

/** The factor that a kernel's memory holds: all blocks of a linear, and linears that share their inputs, use one. */
const resident = new WeakMap<Kernel, Float32Array>();
