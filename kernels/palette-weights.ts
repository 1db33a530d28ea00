import { type Cost, requireShape } from "./define-kernel";

/** A palettized linear on the GPU, possibly several stacked by rows; layout in wgsl/lib/palette-weights.wgsl. */
export interface PaletteWeights {
  /** Rows, padded to whole blocks of 16. */
  rows: number;
  /** Columns, padded to a multiple of 64. */
  cols: number;
  plane0: GPUBuffer;
  plane1: GPUBuffer;
  plane2: GPUBuffer;
  /** Per 16-row block: bits, plane rows, palette, row scales. */
  blocks: GPUBuffer;
  /** Kept columns: wgsl/lib/kept-columns.wgsl, behind the records of `blocks`. Default none. */
  kept?: number;
  /** Bytes of codes, palettes and scales that one pass over W reads. */
  bytes: number;
}

/** u32 words of one block's record in `blocks`. */
export const BLOCK_WORDS = 20;

/** u32 words of `kept` columns' places and values. */
export const keptWords = (rows: number, kept: number): number => kept + (rows / 2) * kept;

/** How many columns are kept. Kept columns are read as they are: no norm may stand in front. @throws KernelShapeError */
export function checkKept(kernel: string, { kept = 0 }: { kept?: number }, norm: boolean): number {
  requireShape(kernel, kept % 4 === 0, `kept columns must be a multiple of 4 but are ${kept}.`);
  requireShape(kernel, kept === 0 || !norm, "columns may be kept only where no norm stands in front.");
  return kept;
}

/** W x for `tokens` tokens: every weight is read once a tile of tokens, activations once. */
export function linearCost(
  weights: Pick<PaletteWeights, "rows" | "cols" | "bytes">,
  tokens: number,
  resultRows: number,
  weightPasses = 1,
): Cost {
  return {
    bytesRead: weights.bytes * weightPasses + 4 * tokens * weights.cols,
    bytesWritten: 4 * tokens * resultRows,
    multiplyAdds: tokens * weights.rows * weights.cols,
  };
}

/** What every kernel that reads palettized weights relies on. @throws KernelShapeError */
export function checkWeights(kernel: string, { rows, cols }: PaletteWeights, stacked = 1): void {
  requireShape(
    kernel,
    rows > 0 && rows % (16 * stacked) === 0,
    `rows must be whole blocks of 16 in ${stacked} stacked but are ${rows}.`,
  );
  requireShape(kernel, cols > 0 && cols % 64 === 0, `cols must be padded to a multiple of 64 but are ${cols}.`);
}
