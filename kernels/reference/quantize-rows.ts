/** Twin of quantize-rows: T rows of activations in int8, and RMSNorm's scalar of what the codes stand for. */
import { type Int8Row, int8Row, int8RowValues } from "./int8-row";
import { rmsInverse } from "./rms-inverse";

export interface QuantizeRowsArgs {
  /** [T, D]. */
  x: ArrayLike<number>;
  D: number;
  /** Absent: no norm. */
  eps?: number;
}

/** `rows` [T] of D columns padded to 64; `scale` [T], absent without a norm. */
export function quantizeRows({ x, D, eps }: QuantizeRowsArgs): { rows: Int8Row[]; scale?: Float64Array } {
  const rows = Array.from({ length: x.length / D }, (_, t) => int8Row(Array.from({ length: D }, (_, c) => x[t * D + c])));
  if (eps === undefined) return { rows };
  return { rows, scale: rmsInverse({ x: rows.flatMap((row) => [...int8RowValues(row).subarray(0, D)]), D, eps }) };
}
