/**
 * Twin of embed-rotate: the residual stream's first value, in the rotated basis.
 *
 *   x[t] = (row_scale[id] * table[id]) R1,  id = ids[t]
 */
import { halfToNumber } from "./half";
import { type Rotation, rotate } from "./rotate";

export interface EmbedRotateArgs {
  /** [V, D]. */
  table: Int8Array;
  /** f16 bits, [V]. */
  rowScale: Uint16Array;
  /** [T]. */
  ids: ArrayLike<number>;
  D: number;
  /** R1; absent where the model runs unrotated. */
  rotation?: Rotation;
}

/** [T, D]. */
export function embedRotate({ table, rowScale, ids, D, rotation }: EmbedRotateArgs): Float64Array {
  const x = new Float64Array(ids.length * D);
  for (let t = 0; t < ids.length; t++) {
    const scale = halfToNumber(rowScale[ids[t]]);
    const row = Float64Array.from(table.subarray(ids[t] * D, (ids[t] + 1) * D), (code) => scale * code);
    x.set(rotation ? rotate(rotation, row) : row, t * D);
  }
  return x;
}
