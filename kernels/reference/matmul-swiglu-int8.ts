/**
 * Twin of matmul-swiglu-int8 and matmul-swiglu-palette-int8: T tokens through the MLP's first half in int8.
 *
 *   gate = scale[t] * Wgate x[t],  up = scale[t] * Wup x[t],  y[t, i] = silu(gate[i]) * up[i],  silu(a) = a / (1 + exp(-a))
 */
import type { Int8Matrix } from "./expand-int8";
import { matmulInt8 } from "./matmul-int8";

export interface MatmulSwigluInt8Args {
  gate: Int8Matrix;
  up: Int8Matrix;
  /** [T, cols]; of activations in int8, what they stand for. */
  x: ArrayLike<number>;
  /** [T], the inverse RMS of each token; absent = 1. */
  scale?: ArrayLike<number>;
}

/** [T, rows]. */
export function matmulSwigluInt8({ gate, up, x, scale }: MatmulSwigluInt8Args): Float64Array {
  const a = matmulInt8({ matrix: gate, x, scale });
  const b = matmulInt8({ matrix: up, x, scale });
  return a.map((v, i) => (v / (1 + Math.exp(-v))) * b[i]);
}
