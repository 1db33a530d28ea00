/** Rows of activations in int8: layout in wgsl/lib/int8-row.wgsl. */

/** Columns that share a scale. */
export const INT8_BLOCK = 16;

/** u32 words of a row of `cols` values, a multiple of 64. */
export const int8RowWords = (cols: number): number => cols / 4 + cols / INT8_BLOCK;
