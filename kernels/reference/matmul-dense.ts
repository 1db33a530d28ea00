/**
 * Twin of matmul-dense: T tokens through a linear.
 *
 *   y[t, r] = scale[t] * sum_c W[r, c] x[t, c] + residual[t, r]
 */
export interface MatmulDenseArgs {
  /** W, [rows, cols]. */
  weights: ArrayLike<number>;
  /** [T, cols]. */
  x: ArrayLike<number>;
  cols: number;
  /** [T], the inverse RMS of each token; absent = 1. */
  scale?: ArrayLike<number>;
  /** [T, rows]; absent = 0. */
  residual?: ArrayLike<number>;
}

/** [T, rows]. */
export function matmulDense({ weights, x, cols, scale, residual }: MatmulDenseArgs): Float64Array {
  const rows = weights.length / cols;
  const T = x.length / cols;
  const y = new Float64Array(T * rows);
  for (let t = 0; t < T; t++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += weights[r * cols + c] * x[t * cols + c];
      y[t * rows + r] = sum * (scale ? scale[t] : 1) + (residual ? residual[t * rows + r] : 0);
    }
  }
  return y;
}
