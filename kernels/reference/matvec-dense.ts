/**
 * Twin of matvec-dense: one token through a linear, with the norm before it and the residual after it.
 *
 *   y[r] = scale * sum_c W[r, c] x[c] + residual[r]
 *   scale = 1 / sqrt(mean(x^2) + normEps) where normEps is given, else 1
 */
import { matmulDense } from "./matmul-dense";
import { rmsInverse } from "./rms-inverse";

export interface MatvecDenseArgs {
  /** W, [rows, cols]. */
  weights: ArrayLike<number>;
  /** [cols]. */
  x: ArrayLike<number>;
  normEps?: number;
  /** [rows]. */
  residual?: ArrayLike<number>;
}

/** [rows]. */
export function matvecDense({ weights, x, normEps, residual }: MatvecDenseArgs): Float64Array {
  const scale = normEps === undefined ? undefined : rmsInverse({ x, D: x.length, eps: normEps });
  return matmulDense({ weights, x, cols: x.length, scale, residual });
}
