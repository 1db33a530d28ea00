/**
 * Twin of embed-dense: the residual stream's first value.
 *
 *   x[t] = table[ids[t]]
 */
export interface EmbedDenseArgs {
  /** [V, D]. */
  table: Float32Array;
  /** [T]. */
  ids: ArrayLike<number>;
  D: number;
}

/** [T, D]. */
export function embedDense({ table, ids, D }: EmbedDenseArgs): Float32Array {
  const x = new Float32Array(ids.length * D);
  for (let t = 0; t < ids.length; t++) x.set(table.subarray(ids[t] * D, (ids[t] + 1) * D), t * D);
  return x;
}
