/**
 * Error feedback along the columns of a linear (GPTQ, arXiv 2210.17323), with the palette fixed: each column's rounding error is
 * passed on to the columns that are still to come, weighted so that the layer's output changes least on inputs of the given
 * second moments.
 */

/** What palettizing a linear has to know of its inputs. */
export interface InputMetric {
  /** `inverseFactor` of their second moments, [cols, cols]. */
  factor: Float32Array;
  /** [cols], mean about 1: how much each input moves. */
  columnWeights: Float32Array;
}

/** @param moments Second moments X^T X of the inputs, [cols, cols]. */
export function inputMetric(moments: Float32Array, cols: number): InputMetric {
  let trace = 0;
  for (let c = 0; c < cols; c++) trace += moments[c * cols + c];
  // An input that never moved keeps a little weight, so that no palette ignores its column.
  const weight = (c: number) => (trace > 0 ? (moments[c * cols + c] * cols) / trace : 1) + DAMPING;
  return { factor: inverseFactor(moments, cols), columnWeights: Float32Array.from({ length: cols }, (_, c) => weight(c)) };
}

const DAMPING = 0.01;

/**
 * U, upper triangular, with H^-1 = U^T U, from the second moments H [n, n] damped on the diagonal by 1 % of its mean.
 * Reversing the order of rows and columns turns one Cholesky factor and one triangular inverse into U, so H^-1 is never formed.
 */
export function inverseFactor(moments: Float32Array, n: number): Float32Array {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += moments[i * n + i];
  const ridge = trace > 0 ? (DAMPING * trace) / n : 1;
  const last = n * n - 1;
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = i * n;
    for (let j = 0; j <= i; j++) {
      const other = j * n;
      let sum = moments[last - row - j] + (i === j ? ridge : 0);
      for (let k = 0; k < j; k++) sum -= lower[row + k] * lower[other + k];
      lower[row + j] = i === j ? Math.sqrt(sum) : sum / lower[other + j];
    }
  }
  const factor = new Float32Array(n * n);
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = i * n;
    const scale = 1 / lower[row + i];
    for (let k = 0; k < i; k++) {
      const times = lower[row + k] * -scale;
      for (let j = 0; j <= k; j++) inverse[row + j] += times * inverse[k * n + j];
    }
    inverse[row + i] = scale;
    for (let j = 0; j <= i; j++) factor[last - row - j] = inverse[row + j];
  }
  return factor;
}

/** Rows that share each load of the factor. */
const LANES = 4;

/**
 * Codes of the rows `top ..< bottom` of `values` [rows, cols], chosen column by column with feedback.
 * @param palette [2^b], rising.
 * @param factor `inverseFactor`'s, [cols, cols].
 * @returns e H e^T of each row, e = its values less what its codes stand for, H the damped moments. It costs nothing: with g the
 *   errors that were passed on, e = g U, and U H U^T = 1, so it is the sum of g^2.
 */
export function assignWithFeedback(
  values: Float32Array,
  palette: Float32Array,
  codes: Uint8Array,
  rows: readonly [top: number, bottom: number],
  cols: number,
  factor: Float32Array,
): Float64Array {
  const outputErrors = new Float64Array(rows[1] - rows[0]);
  const borders = Float64Array.from({ length: palette.length - 1 }, (_, k) => (palette[k] + palette[k + 1]) / 2);
  const half = palette.length / 2;
  const work = new Float64Array(LANES * cols);
  const errors = new Float64Array(LANES);
  for (let top = rows[0]; top < rows[1]; top += LANES) {
    const lanes = Math.min(LANES, rows[1] - top);
    work.fill(0);
    work.set(values.subarray(top * cols, (top + lanes) * cols));
    for (let j = 0; j < cols; j++) {
      const inverse = 1 / factor[j * cols + j];
      for (let lane = 0; lane < lanes; lane++) {
        const x = work[lane * cols + j];
        let code = 0;
        for (let step = half; step >= 1; step >>= 1) if (x > borders[code + step - 1]) code += step;
        codes[(top + lane) * cols + j] = code;
        errors[lane] = (x - palette[code]) * inverse;
        outputErrors[top - rows[0] + lane] += errors[lane] ** 2;
      }
      passOn(work, errors, factor, j, cols);
    }
  }
  return outputErrors;
}

/** Subtracts errors[lane] * factor[j, k] from the columns k > j of each lane. */
function passOn(work: Float64Array, errors: Float64Array, factor: Float32Array, j: number, cols: number): void {
  const [e0, e1, e2, e3] = errors;
  const row = j * cols;
  for (let k = j + 1; k < cols; k++) {
    const u = factor[row + k];
    work[k] -= e0 * u;
    work[cols + k] -= e1 * u;
    work[2 * cols + k] -= e2 * u;
    work[3 * cols + k] -= e3 * u;
  }
}
