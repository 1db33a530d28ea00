/** One linear to the tensors that stand for it. */
import type { PalettizedLinear } from "../formats/palettized-linear";
import { type CodedBlocks, codeBlocks, keptColumns, PALETTE_ENTRIES, paletteAt } from "./blocks";
import type { InputMetric } from "./feedback";
import { packPlanes } from "./planes";

export interface PalettizedResult {
  linear: PalettizedLinear;
  /** Sum over all weights of (weight - what stands for it)^2. */
  squaredError: number;
  /** Sum over all weights of weight^2. */
  squaredNorm: number;
  /**
   * For each block, how much its error moves the layer's output: e H e^T over its rows, H the damped moments X^T X. Zeros without
   * `inputs`. Blocks are coded independently, so that another width for one of them leaves the others' as they are.
   */
  outputErrors: Float64Array;
}

/**
 * @param weight [rows, cols], finite. It is overwritten.
 * @param bits [ceil(rows / 16)], 2, 3 or 4 for each block.
 * @param inputs What it reads; absent: codes are the nearest entries.
 * @param elastic See `codeBlocks`.
 */
export function palettizeLinear(
  weight: Float32Array,
  bits: Uint8Array,
  rows: number,
  cols: number,
  inputs?: InputMetric,
  elastic = false,
): PalettizedResult {
  return packLinear(codeBlocks(weight, bits, cols, inputs, elastic), rows, cols, inputs, elastic);
}

/** All blocks of a linear, packed. */
export function packLinear(
  coded: CodedBlocks,
  rows: number,
  cols: number,
  inputs?: InputMetric,
  elastic = false,
): PalettizedResult {
  const { bits, codes, rowScale, kept, squaredErrors, squaredNorms, outputErrors } = coded;
  return {
    linear: {
      ...packPlanes(codes, bits, rows, cols),
      palette4: palettesOf(coded, 4, elastic),
      palette3: palettesOf(coded, 3, elastic),
      palette2: palettesOf(coded, 2, elastic),
      rowScale,
      kept: inputs?.kept ? { index: keptColumns(inputs), values: kept } : undefined,
    },
    squaredError: sum(squaredErrors),
    squaredNorm: sum(squaredNorms),
    outputErrors,
  };
}

const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

/** f16 [blocks of a width, 2^width], in an elastic model of that width or more; undefined where there are none. */
function palettesOf({ bits, palettes }: CodedBlocks, width: number, elastic: boolean): Uint16Array | undefined {
  const blocks = Array.from(bits.keys()).filter((block) => bits[block] === width || (elastic && bits[block] > width));
  const entries = new Uint16Array(blocks.length << width);
  for (const [i, block] of blocks.entries()) {
    const from = block * PALETTE_ENTRIES + paletteAt(width);
    entries.set(palettes.subarray(from, from + 2 ** width), i << width);
  }
  return entries.length ? entries : undefined;
}
