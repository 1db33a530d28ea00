/**
 * Twin of head-int8: logits from the int8 table that the head shares with the embedding.
 *
 *   logits[v] = row_scale[v] * sum_c table[v, c] x[c]
 */
import { halfToNumber } from "./half";

export interface HeadInt8Args {
  /** [V, D]. */
  table: Int8Array;
  /** f16 bits, [V]. */
  rowScale: Uint16Array;
  /** [D]. */
  x: ArrayLike<number>;
}

/** [V]. */
export function headInt8({ table, rowScale, x }: HeadInt8Args): Float64Array {
  const D = x.length;
  const logits = new Float64Array(rowScale.length);
  for (let v = 0; v < logits.length; v++) {
    let sum = 0;
    for (let c = 0; c < D; c++) sum += table[v * D + c] * x[c];
    logits[v] = halfToNumber(rowScale[v]) * sum;
  }
  return logits;
}
