/**
 * Twin of matmul-swiglu-palette: T tokens through the MLP's first half.
 *
 *   gate = scale[t] * Wgate x[t],  up = scale[t] * Wup x[t],  y[t, i] = silu(gate[i]) * up[i],  silu(a) = a / (1 + exp(-a))
 */
import { matmulPalette } from "./matmul-palette";
import type { PaletteMatrix } from "./palette-matrix";

export interface MatmulSwigluPaletteArgs {
  gate: PaletteMatrix;
  up: PaletteMatrix;
  /** [T, cols]. */
  x: ArrayLike<number>;
  /** [T], the inverse RMS of each token; absent = 1. */
  scale?: ArrayLike<number>;
}

/** [T, rows]. */
export function matmulSwigluPalette({ gate, up, x, scale }: MatmulSwigluPaletteArgs): Float64Array {
  const y = matmulPalette({ matrix: gate, x, scale });
  const u = matmulPalette({ matrix: up, x, scale });
  for (let i = 0; i < y.length; i++) y[i] = (y[i] / (1 + Math.exp(-y[i]))) * u[i];
  return y;
}
