/** Twin of matmul-swiglu-palette-int8: rows in int8 of T tokens through the MLP's first half, palettes rounded to int8. */
import { int8Matrix } from "./expand-int8";
import { type Int8Row, int8RowValues } from "./int8-row";
import { type MatmulSwigluInt8Args, matmulSwigluInt8 } from "./matmul-swiglu-int8";
import type { PaletteMatrix } from "./palette-matrix";

export interface MatmulSwigluPaletteInt8Args extends Omit<MatmulSwigluInt8Args, "gate" | "up" | "x"> {
  gate: PaletteMatrix;
  up: PaletteMatrix;
  /** [T], each of the matrices' columns, padded. */
  x: readonly Int8Row[];
}

/** [T, rows]. */
export const matmulSwigluPaletteInt8 = ({ gate, up, x, ...args }: MatmulSwigluPaletteInt8Args): Float64Array => {
  const values = x.flatMap((row) => [...int8RowValues(row).subarray(0, gate.cols)]);
  return matmulSwigluInt8({ gate: int8Matrix(gate), up: int8Matrix(up), x: values, ...args });
};
