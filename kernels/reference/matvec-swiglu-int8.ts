/**
 * Twin of matvec-swiglu-int8: a token's row in int8 through the MLP's first half.
 *
 *   gate = norm Wgate x,  up = norm Wup x,  y[i] = silu(gate[i]) * up[i],  silu(a) = a / (1 + exp(-a))
 *   norm = 1 / sqrt(mean(x^2) + normEps)
 */
import type { Int8Matrix } from "./expand-int8";
import type { Int8Row } from "./int8-row";
import { matvecInt8 } from "./matvec-int8";

export interface MatvecSwigluInt8Args {
  gate: Int8Matrix;
  up: Int8Matrix;
  /** [cols padded]. */
  x: Int8Row;
  normEps: number;
}

/** [rows], not yet in int8. */
export function matvecSwigluInt8({ gate, up, x, normEps }: MatvecSwigluInt8Args): Float64Array {
  const a = matvecInt8({ matrix: gate, x, normEps });
  const b = matvecInt8({ matrix: up, x, normEps });
  return a.map((v, i) => (v / (1 + Math.exp(-v))) * b[i]);
}
