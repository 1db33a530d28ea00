/**
 * Twin of adapter-down: an adapter's A on T tokens, with the norm in front.
 *
 *   z[t, k] = norm(t) * sum_c a[k, c] x[t, c],  norm(t) = 1 / sqrt(mean(x[t]^2) + normEps) where normEps is given, else 1
 */
import { rmsInverse } from "./rms-inverse";

export interface AdapterDownArgs {
  /** [rank, cols]. */
  a: ArrayLike<number>;
  rank: number;
  /** [T, cols]. */
  x: ArrayLike<number>;
  normEps?: number;
}

/** [T, rank]. */
export function adapterDown({ a, rank, x, normEps }: AdapterDownArgs): Float64Array {
  const cols = a.length / rank;
  const norm = normEps === undefined ? undefined : rmsInverse({ x, D: cols, eps: normEps });
  return Float64Array.from({ length: (x.length / cols) * rank }, (_, i) => {
    const [t, k] = [Math.floor(i / rank), i % rank];
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += a[k * cols + c] * x[t * cols + c];
    return sum * (norm ? norm[t] : 1);
  });
}
