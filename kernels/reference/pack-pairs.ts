/**
 * Twin of pack-pairs: a linear's planes as the GPU holds them, 4-bit blocks from planes to pair bytes in place.
 *
 *   of 4 rows x 32 columns, byte i of a row's four words, in order: the codes of columns
 *   4i, 4i+1 | 4i+2, 4i+3 | 16+4i, 16+4i+1 | 16+4i+2, 16+4i+3, the lower column in the lower nibble
 */
import { planeBit } from "./palette-matrix";

export interface PackPairsArgs {
  /** Padded, a multiple of 64. */
  cols: number;
  /** [rows/4, 2, cols/32, 4]. */
  plane0: Uint32Array;
  /** [rows of blocks >= 3 bits / 4, cols/32, 4]. */
  plane1: Uint32Array;
  /** [rows of 4-bit blocks / 4, cols/32, 4]. */
  plane2: Uint32Array;
  /** [rows/16, 20]: bits, first plane1 row, first plane2 row, … */
  blocks: Uint32Array;
}

export function packPairs(args: PackPairsArgs): void {
  convert(args, packWords);
}

/** The inverse of packPairs. */
export function unpackPairs(args: PackPairsArgs): void {
  convert(args, unpackWords);
}

type Convert = (first: number, second: number, third: number, fourth: number) => number[];

/** Of every row's 32 columns, their words in plane0, plane1 and plane2. */
function convert({ cols, plane0, plane1, plane2, blocks }: PackPairsArgs, convertWords: Convert): void {
  const words = cols / 8; // of 4 rows, one a 32 columns
  for (let block = 0; block < blocks.length / 20; block++) {
    const [bits, row1, row2] = blocks.subarray(20 * block);
    if (bits !== 4) continue;
    for (let slot = 0; slot < 4; slot++) {
      const at0 = (4 * block + slot) * 2 * words;
      const at1 = (row1 / 4 + slot) * words;
      const at2 = (row2 / 4 + slot) * words;
      for (let i = 0; i < words; i++) {
        const converted = convertWords(plane0[at0 + i], plane0[at0 + words + i], plane1[at1 + i], plane2[at2 + i]);
        [plane0[at0 + i], plane0[at0 + words + i], plane1[at1 + i], plane2[at2 + i]] = converted;
      }
    }
  }
}

/** One row's 32 columns, from planes to pairs. */
function packWords(first: number, second: number, bit1: number, bit0: number): number[] {
  const words = [0, 0, 0, 0];
  for (let c = 0; c < 32; c++) {
    const top = ((c < 16 ? first : second) >>> (2 * (c & 15))) & 3;
    const code = (top << 2) | (((bit1 >>> planeBit(c)) & 1) << 1) | ((bit0 >>> planeBit(c)) & 1);
    words[2 * (c >> 4) + ((c >> 1) & 1)] |= code << (8 * ((c & 15) >> 2) + 4 * (c & 1));
  }
  return words;
}

/** One row's 32 columns, from pairs to planes. */
function unpackWords(...pairs: number[]): number[] {
  const planes = [0, 0, 0, 0];
  for (let c = 0; c < 32; c++) {
    const code = (pairs[2 * (c >> 4) + ((c >> 1) & 1)] >>> (8 * ((c & 15) >> 2) + 4 * (c & 1))) & 15;
    planes[c >> 4] |= (code >> 2) << (2 * (c & 15));
    planes[2] |= ((code >> 1) & 1) << planeBit(c);
    planes[3] |= (code & 1) << planeBit(c);
  }
  return planes;
}
