/**
 * Twin of matmul-int8 and matmul-palette-int8: T tokens through a linear in int8.
 *
 *   y[t, r] = scale[t] * row_scale[r] * sum_c code[r, c] x[t, c] + sum_j kept[r, j] x[t, index[j]] + residual[t, r]
 */
import type { Int8Matrix } from "./expand-int8";
import { keptProduct } from "./palette-matrix";

export interface MatmulInt8Args {
  matrix: Int8Matrix;
  /** [T, cols]; of activations in int8, what they stand for. */
  x: ArrayLike<number>;
  /** [T], the inverse RMS of each token; absent = 1. */
  scale?: ArrayLike<number>;
  /** [T, rows]; absent = 0. */
  residual?: ArrayLike<number>;
}

/** [T, rows]. */
export function matmulInt8({ matrix, x, scale, residual }: MatmulInt8Args): Float64Array {
  const { rows, cols, codes, scales, kept } = matrix;
  const T = x.length / cols;
  return Float64Array.from({ length: T * rows }, (_, i) => {
    const [t, r] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += codes[r * cols + c] * x[t * cols + c];
    const ofKept = keptProduct(kept, r, x, t * cols);
    return sum * scales[r] * (scale ? scale[t] : 1) + ofKept + (residual ? residual[i] : 0);
  });
}
