/** Twin of matvec-swiglu-palette-int8: a token's row in int8 through the MLP's first half, palettes rounded to int8. */
import { int8Matrix } from "./expand-int8";
import { type MatvecSwigluInt8Args, matvecSwigluInt8 } from "./matvec-swiglu-int8";
import type { PaletteMatrix } from "./palette-matrix";

export interface MatvecSwigluPaletteInt8Args extends Omit<MatvecSwigluInt8Args, "gate" | "up"> {
  gate: PaletteMatrix;
  up: PaletteMatrix;
}

/** [rows], not yet in int8. */
export const matvecSwigluPaletteInt8 = ({ gate, up, ...args }: MatvecSwigluPaletteInt8Args): Float64Array =>
  matvecSwigluInt8({ gate: int8Matrix(gate), up: int8Matrix(up), ...args });
