import { requireShape } from "./define-kernel";

/** f32 weights on the GPU, row by row: a linear, possibly several stacked by rows, or a vocabulary table. */
export interface DenseMatrix {
  /** Padded with rows of zeros. */
  rows: number;
  /** Padded with zeros. */
  cols: number;
  /** f32 [rows, cols]. */
  weights: GPUBuffer;
  /** Of `weights`. */
  bytes: number;
}

/** Rows must come in quads, columns in whole steps. @throws KernelShapeError */
export function checkDense(kernel: string, { rows, cols }: DenseMatrix, columnMultiple = 4): void {
  requireShape(kernel, rows > 0 && rows % 4 === 0, `rows must be padded to a multiple of 4 but are ${rows}.`);
  requireShape(
    kernel,
    cols > 0 && cols % columnMultiple === 0,
    `cols must be padded to a multiple of ${columnMultiple} but are ${cols}.`,
  );
}
