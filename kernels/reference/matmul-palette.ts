/**
 * Twin of matmul-palette: T tokens through a palettized linear.
 *
 *   y[t, r] = scale[t] * sum_c W[r, c] x[t, c] + residual[t, r]
 */
import { type PaletteMatrix, weightRow } from "./palette-matrix";

export interface MatmulPaletteArgs {
  matrix: PaletteMatrix;
  /** [T, cols]. */
  x: ArrayLike<number>;
  /** [T], the inverse RMS of each token; absent = 1. */
  scale?: ArrayLike<number>;
  /** [T, rows]; absent = 0. */
  residual?: ArrayLike<number>;
}

/** [T, rows]. */
export function matmulPalette({ matrix, x, scale, residual }: MatmulPaletteArgs): Float64Array {
  const { rows, cols } = matrix;
  const T = x.length / cols;
  const y = new Float64Array(T * rows);
  for (let r = 0; r < rows; r++) {
    const weights = weightRow(matrix, r);
    for (let t = 0; t < T; t++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += weights[c] * x[t * cols + c];
      y[t * rows + r] = sum * (scale ? scale[t] : 1) + (residual ? residual[t * rows + r] : 0);
    }
  }
  return y;
}
