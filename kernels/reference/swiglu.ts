/**
 * Twin of swiglu: the gated activation between an MLP's two halves.
 *
 *   y[t, r] = silu(v[t, r]) * v[t, rows + r],  silu(a) = a / (1 + exp(-a))
 */
export interface SwigluArgs {
  /** [T, 2 rows]: gate, then up. */
  v: ArrayLike<number>;
  rows: number;
}

/** [T, rows]. */
export function swiglu({ v, rows }: SwigluArgs): Float64Array {
  const y = new Float64Array(v.length / 2);
  for (let i = 0; i < y.length; i++) {
    const gate = v[2 * rows * Math.floor(i / rows) + (i % rows)];
    const up = v[2 * rows * Math.floor(i / rows) + rows + (i % rows)];
    y[i] = (gate / (1 + Math.exp(-gate))) * up;
  }
  return y;
}
