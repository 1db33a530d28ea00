import { type Cost, requireShape } from "./define-kernel";
import { int8RowWords } from "./int8-row";

/** A linear on the GPU in int8, possibly several stacked by rows; layout in wgsl/lib/int8-weights.wgsl. */
export interface Int8Weights {
  /** Rows, padded to whole blocks of 16. */
  rows: number;
  /** Columns, padded to a multiple of 64. */
  cols: number;
  /** int8 [rows/4, cols/4, 4 rows, 4 columns]. */
  codes: GPUBuffer;
  /** f32 [rows]. */
  scales: GPUBuffer;
  /** Kept columns: wgsl/lib/kept-columns.wgsl, behind the codes. Default none. */
  kept?: number;
  /** Bytes that one pass over W reads. */
  bytes: number;
}

/** W x for `tokens` tokens in int8, each reading W by itself, with `bytesWritten` in all. */
export function int8LinearCost({ rows, cols, bytes }: Int8Weights, tokens: number, bytesWritten: number): Cost {
  return {
    bytesRead: tokens * (bytes + 4 * int8RowWords(cols)),
    bytesWritten,
    multiplyAdds: tokens * rows * cols,
  };
}

/** What every kernel that reads weights in int8 relies on. @throws KernelShapeError */
export function checkInt8Weights(kernel: string, { rows, cols }: Pick<Int8Weights, "rows" | "cols">, stacked = 1): void {
  requireShape(
    kernel,
    rows > 0 && rows % (16 * stacked) === 0,
    `rows must be whole blocks of 16 in ${stacked} stacked but are ${rows}.`,
  );
  requireShape(kernel, cols > 0 && cols % 64 === 0, `cols must be padded to a multiple of 64 but are ${cols}.`);
}
