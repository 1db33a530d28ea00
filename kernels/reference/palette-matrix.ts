/**
 * One palettized linear layer W [rows, cols] as it is stored, and its weights one by one:
 *
 *   W[r, c] = row_scale[r] * palette[code(r, c)]
 *   code    = plane0 at 2 bits, plane0 << 1 | plane1 at 3, plane0 << 2 | plane1 << 1 | plane2 at 4
 *
 * Every 16 rows form a block with its own width and palette. plane1 holds rows only for blocks of 3 or 4 bits, plane2
 * only for blocks of 4, and each palette table only the blocks of its width, all in block order.
 */
import { halfToNumber } from "./half";

export interface PaletteMatrix {
  rows: number;
  cols: number;
  /** [ceil(rows / 16)], each 2, 3 or 4. */
  bits: Uint8Array;
  /** [rowsPadded, colsPadded / 16]: 2 bits a code, lowest bits first; colsPadded is cols up to a multiple of 64. */
  plane0: Uint32Array;
  /** [rows of blocks with >= 3 bits, colsPadded / 32]. */
  plane1?: Uint32Array;
  /** [rows of blocks with 4 bits, colsPadded / 32]. */
  plane2?: Uint32Array;
  /** f16 bits, [blocks of 4 bits, 16], [blocks of 3 bits, 8], [blocks of 2 bits, 4]. */
  palette4?: Uint16Array;
  palette3?: Uint16Array;
  palette2?: Uint16Array;
  /** f16 bits, [rows]. */
  rowScale: Uint16Array;
  kept?: KeptColumns;
}

/** What is added to a few columns beyond what their codes say: W[r, index[j]] += values[r, j]. */
export interface KeptColumns {
  /** [n] */
  index: Uint32Array;
  /** f16 bits, [rows, n]. */
  values: Uint16Array;
}

/** Bit of a plane1 or plane2 word that belongs to column `c` of its 32: even and odd columns interleave. */
export const planeBit = (c: number): number => 4 * ((c & 15) >> 1) + 2 * (c >> 4) + (c & 1);

/** The weights of row `r`, [cols], kept columns included. */
export function weightRow(matrix: PaletteMatrix, r: number): Float64Array {
  const weights = codedRow(matrix, r);
  const { kept } = matrix;
  kept?.index.forEach((column, j) => {
    weights[column] += halfToNumber(kept.values[r * kept.index.length + j]);
  });
  return weights;
}

/** What row `r` keeps, times x [cols], which begins at `from`. */
export function keptProduct(kept: KeptColumns | undefined, r: number, x: ArrayLike<number>, from = 0): number {
  let sum = 0;
  kept?.index.forEach((column, j) => {
    sum += halfToNumber(kept.values[r * kept.index.length + j]) * x[from + column];
  });
  return sum;
}

/** What the codes of row `r` say, [cols]. */
export function codedRow(matrix: PaletteMatrix, r: number): Float64Array {
  const { bits, cols, plane0, plane1, plane2 } = matrix;
  const words = Math.ceil(cols / 64) * 2;
  const block = r >> 4;
  const width = bits[block];
  // Blocks before this one that are at least, or exactly, so wide: where the compact planes and palettes stand.
  let atLeast3 = 0;
  let exactly4 = 0;
  let sameWidth = 0;
  for (let b = 0; b < block; b++) {
    if (bits[b] >= 3) atLeast3++;
    if (bits[b] === 4) exactly4++;
    if (bits[b] === width) sameWidth++;
  }
  const row1 = (16 * atLeast3 + (r & 15)) * words;
  const row2 = (16 * exactly4 + (r & 15)) * words;
  const palette = width === 4 ? matrix.palette4 : width === 3 ? matrix.palette3 : matrix.palette2;
  const scale = halfToNumber(matrix.rowScale[r]);
  const weights = new Float64Array(cols);
  for (let c = 0; c < cols; c++) {
    let code = (plane0[r * 2 * words + (c >> 4)] >>> (2 * (c & 15))) & 3;
    const bit = planeBit(c & 31);
    if (width >= 3) code = (code << 1) | ((plane1![row1 + (c >> 5)] >>> bit) & 1);
    if (width === 4) code = (code << 1) | ((plane2![row2 + (c >> 5)] >>> bit) & 1);
    weights[c] = scale * halfToNumber(palette![(sameWidth << width) + code]);
  }
  return weights;
}
