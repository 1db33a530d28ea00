/**
 * Twin of expand-int8: a palettized linear as int8 codes with a scale a row.
 *
 *   code[r, c] = round(palette[block(r)][code(r, c)] / s),  scale[r] = s row_scale[r],  s = max |palette| / 127 of the block
 *
 * Kept columns stay what they are. The palette's every entry counts for s, used or not: a kernel does not know which codes occur.
 */
import { halfToNumber } from "./half";
import { codedRow, type KeptColumns, type PaletteMatrix } from "./palette-matrix";

export interface Int8Matrix {
  rows: number;
  cols: number;
  /** [rows, cols]. */
  codes: Int8Array;
  /** f64 [rows]. */
  scales: Float64Array;
  kept?: KeptColumns;
}

export function int8Matrix(matrix: PaletteMatrix): Int8Matrix {
  const { rows, cols, bits } = matrix;
  const codes = new Int8Array(rows * cols);
  const scales = new Float64Array(rows);
  const palettes: Record<number, Uint16Array | undefined> = { 4: matrix.palette4, 3: matrix.palette3, 2: matrix.palette2 };
  const seen: Record<number, number> = { 4: 0, 3: 0, 2: 0 };
  for (let block = 0; block < bits.length; block++) {
    const width = bits[block];
    const first = seen[width]++ << width;
    const palette = Array.from(palettes[width]!.subarray(first, first + (1 << width)), halfToNumber);
    const step = Math.max(...palette.map(Math.abs)) / 127;
    for (let r = block * 16; r < Math.min(block * 16 + 16, rows); r++) {
      const rowScale = halfToNumber(matrix.rowScale[r]);
      scales[r] = step * rowScale;
      const weights = codedRow(matrix, r);
      for (let c = 0; c < cols; c++) codes[r * cols + c] = step === 0 ? 0 : Math.round(weights[c] / rowScale / step);
    }
  }
  return { rows, cols, codes, scales, kept: matrix.kept };
}
