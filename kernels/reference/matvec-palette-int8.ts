/** Twin of matvec-palette-int8: a token's row in int8 through a palettized linear whose palettes are rounded to int8. */
import { int8Matrix } from "./expand-int8";
import { type MatvecInt8Args, matvecInt8 } from "./matvec-int8";
import type { PaletteMatrix } from "./palette-matrix";

export interface MatvecPaletteInt8Args extends Omit<MatvecInt8Args, "matrix"> {
  matrix: PaletteMatrix;
}

/** [rows]. */
export const matvecPaletteInt8 = ({ matrix, ...args }: MatvecPaletteInt8Args): Float64Array =>
  matvecInt8({ matrix: int8Matrix(matrix), ...args });
