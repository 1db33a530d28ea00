/**
 * Twin of matvec-palette: one token through a palettized linear, with the norm before it and the residual after it.
 *
 *   y[r] = scale * sum_c W[r, c] x[c] + residual[r]
 *   scale = 1 / sqrt(mean(x^2) + normEps) where normEps is given, else 1
 */
import { matmulPalette } from "./matmul-palette";
import type { PaletteMatrix } from "./palette-matrix";
import { rmsInverse } from "./rms-inverse";

export interface MatvecPaletteArgs {
  matrix: PaletteMatrix;
  /** [cols]. */
  x: ArrayLike<number>;
  normEps?: number;
  /** [rows]. */
  residual?: ArrayLike<number>;
}

/** [rows]. */
export function matvecPalette({ matrix, x, normEps, residual }: MatvecPaletteArgs): Float64Array {
  const scale = normEps === undefined ? undefined : rmsInverse({ x, D: matrix.cols, eps: normEps });
  return matmulPalette({ matrix, x, scale, residual });
}
