/** RMSNorm whose weight is folded into the linears behind it: y = x / rms(x). */

export interface Normed {
  /** [T, D] */
  y: Float32Array;
  /** [T], 1 / rms(x). */
  scale: Float32Array;
}

/** @param x [T, D] */
export function norm(x: Float32Array, D: number, eps: number): Normed {
  const y = new Float32Array(x.length);
  const scale = new Float32Array(x.length / D);
  for (let t = 0, from = 0; from < x.length; t++, from += D) {
    let squares = 0;
    for (let c = from; c < from + D; c++) squares += x[c] ** 2;
    scale[t] = 1 / Math.sqrt(squares / D + eps);
    for (let c = from; c < from + D; c++) y[c] = x[c] * scale[t];
  }
  return { y, scale };
}

/** dx = scale (dy - y mean(dy y)), for each token. dy [T, D]. */
export function normBack({ y, scale }: Normed, dy: Float32Array): Float32Array {
  const D = y.length / scale.length;
  const dx = new Float32Array(y.length);
  for (let t = 0, from = 0; from < y.length; t++, from += D) {
    let sum = 0;
    for (let c = from; c < from + D; c++) sum += dy[c] * y[c];
    const mean = sum / D;
    for (let c = from; c < from + D; c++) dx[c] = scale[t] * (dy[c] - y[c] * mean);
  }
  return dx;
}
