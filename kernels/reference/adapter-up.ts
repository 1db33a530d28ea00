/**
 * Twin of adapter-up: an adapter's B on what its A made of T tokens.
 *
 *   y[t, r] = before[t, r] + scale * sum_k b[r, k] z[t, k]
 */
export interface AdapterUpArgs {
  /** [rows, rank]. */
  b: ArrayLike<number>;
  rank: number;
  scale: number;
  /** [T, rank]. */
  z: ArrayLike<number>;
  /** [T, rows]. */
  before: ArrayLike<number>;
}

/** [T, rows]. */
export function adapterUp({ b, rank, scale, z, before }: AdapterUpArgs): Float64Array {
  const rows = b.length / rank;
  return Float64Array.from(before, (value, i) => {
    const [t, r] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += b[r * rank + k] * z[t * rank + k];
    return value + scale * sum;
  });
}
