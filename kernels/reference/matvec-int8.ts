/**
 * Twin of matvec-int8: a token's row in int8 through a linear in int8.
 *
 *   y[r] = norm * scale[r] * sum_c code[r, c] x[c] + sum_j kept[r, j] x[index[j]] + residual[r],  x[c] = the row's code times its scale
 *   norm = 1 / sqrt(mean(x^2) + normEps) where normEps is given, else 1
 */
import type { Int8Matrix } from "./expand-int8";
import { type Int8Row, int8RowValues } from "./int8-row";
import { keptProduct } from "./palette-matrix";
import { rmsInverse } from "./rms-inverse";

export interface MatvecInt8Args {
  matrix: Int8Matrix;
  /** [cols padded]. */
  x: Int8Row;
  normEps?: number;
  /** [rows]. */
  residual?: ArrayLike<number>;
}

/** [rows]. */
export function matvecInt8({ matrix, x, normEps, residual }: MatvecInt8Args): Float64Array {
  const { rows, cols, codes, scales, kept } = matrix;
  const values = int8RowValues(x).subarray(0, cols);
  const norm = normEps === undefined ? 1 : rmsInverse({ x: values, D: cols, eps: normEps })[0];
  return Float64Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += codes[r * cols + c] * values[c];
    return norm * scales[r] * sum + keptProduct(kept, r, values) + (residual ? residual[r] : 0);
  });
}
