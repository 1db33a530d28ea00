/** Embedding and head: int8 with one f16 scale a row, cut by rows into parts that fit a shard. */
import { f16ToF32, f32ToF16 } from "../formats/f16";
import { formatError } from "../formats/json";

/** Two parts, and their header, fit a shard. */
export const PART_BYTES = 8_000_000;

/** Rows of each part of a [rows, cols] table. */
export function tableParts(rows: number, cols: number): number[] {
  const most = Math.max(1, Math.floor(PART_BYTES / cols));
  return Array.from({ length: Math.ceil(rows / most) }, (_, part) => Math.min(most, rows - part * most));
}

export interface Int8Table {
  /** [rows, cols], -127 to 127. */
  codes: Int8Array;
  /** f16 [rows]. */
  rowScale: Uint16Array;
}

/**
 * A value becomes code * scale, scale the row's largest magnitude / 127.
 * @param values [rows, cols], finite.
 * @throws OchreError MODEL_FORMAT where a row's values are beyond what an f16 scale can reach.
 */
export function quantizeTable(name: string, values: Float32Array, rows: number, cols: number): Int8Table {
  const codes = new Int8Array(rows * cols);
  const rowScale = new Uint16Array(rows);
  for (let r = 0; r < rows; r++) {
    let largest = 0;
    for (let i = r * cols; i < (r + 1) * cols; i++) largest = Math.max(largest, Math.abs(values[i]));
    if (largest === 0) continue;
    rowScale[r] = f32ToF16(largest / 127);
    // Rounded down too far, as only tiny scales are, it would send the largest value to 128 or beyond.
    if (largest / f16ToF32(rowScale[r]) >= 127.5) rowScale[r]++;
    const scale = f16ToF32(rowScale[r]);
    if (scale === Number.POSITIVE_INFINITY) {
      throw formatError("palettize", `row ${r} of ${name} must stay below 8.3 million but reaches ${largest}.`, { tensor: name });
    }
    for (let i = r * cols; i < (r + 1) * cols; i++) codes[i] = Math.round(values[i] / scale);
  }
  return { codes, rowScale };
}
