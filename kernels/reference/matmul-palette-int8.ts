/** Twin of matmul-palette-int8: rows in int8 of T tokens through a palettized linear whose palettes are rounded to int8. */
import { int8Matrix } from "./expand-int8";
import { type Int8Row, int8RowValues } from "./int8-row";
import { type MatmulInt8Args, matmulInt8 } from "./matmul-int8";
import type { PaletteMatrix } from "./palette-matrix";

export interface MatmulPaletteInt8Args extends Omit<MatmulInt8Args, "matrix" | "x"> {
  matrix: PaletteMatrix;
  /** [T], each of the matrix's columns, padded. */
  x: readonly Int8Row[];
}

/** [T, rows]. */
export const matmulPaletteInt8 = ({ matrix, x, ...args }: MatmulPaletteInt8Args): Float64Array =>
  matmulInt8({ matrix: int8Matrix(matrix), x: x.flatMap((row) => [...int8RowValues(row).subarray(0, matrix.cols)]), ...args });
