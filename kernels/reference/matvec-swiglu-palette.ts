/**
 * Twin of matvec-swiglu-palette: one token through the MLP's first half.
 *
 *   gate = scale * Wgate x,  up = scale * Wup x,  y[i] = silu(gate[i]) * up[i],  silu(a) = a / (1 + exp(-a))
 *   scale = 1 / sqrt(mean(x^2) + normEps) where normEps is given, else 1
 */
import { matmulSwigluPalette } from "./matmul-swiglu-palette";
import type { PaletteMatrix } from "./palette-matrix";
import { rmsInverse } from "./rms-inverse";

export interface MatvecSwigluPaletteArgs {
  gate: PaletteMatrix;
  up: PaletteMatrix;
  /** [cols]. */
  x: ArrayLike<number>;
  normEps?: number;
}

/** [rows]. */
export function matvecSwigluPalette({ gate, up, x, normEps }: MatvecSwigluPaletteArgs): Float64Array {
  const scale = normEps === undefined ? undefined : rmsInverse({ x, D: gate.cols, eps: normEps });
  return matmulSwigluPalette({ gate, up, x, scale });
}
