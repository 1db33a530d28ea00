/**
 * Twin of moments, to the last bit: each product and sum rounded to f32, t rising.
 *
 *   m[i, j] = m[i, j] + sum_t x[t, i] x[t, j]
 */
export interface MomentsArgs {
  /** [T, cols]. */
  x: Float32Array;
  cols: number;
  /** [cols, cols], what was there before; absent = 0. */
  before?: Float32Array;
}

/** [cols, cols], both halves. */
export function moments({ x, cols, before }: MomentsArgs): Float32Array {
  const m = before ? before.slice() : new Float32Array(cols * cols);
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) {
      for (let t = 0; t < x.length; t += cols) m[i * cols + j] += Math.fround(x[t + i] * x[t + j]);
    }
  }
  return m;
}
