/**
 * Twin of rms-inverse: what RMSNorm multiplies each token by (its weight is folded into the linears that read it).
 *
 *   y[t] = 1 / sqrt(mean(x[t]^2) + eps)
 */
export interface RmsInverseArgs {
  /** [T, D]. */
  x: ArrayLike<number>;
  D: number;
  eps: number;
}

/** [T]. */
export function rmsInverse({ x, D, eps }: RmsInverseArgs): Float64Array {
  const y = new Float64Array(x.length / D);
  for (let t = 0; t < y.length; t++) {
    let squares = 0;
    for (let c = 0; c < D; c++) squares += x[t * D + c] ** 2;
    y[t] = 1 / Math.sqrt(squares / D + eps);
  }
  return y;
}
