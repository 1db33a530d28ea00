/** Codes to the three planes of the format (see runtime/formats/palettized.ts); `unpackCodes` beside it is the way back. */
import { COLUMN_MULTIPLE, PALETTE_ROWS, padTo, planeBit } from "../formats/palettized";
import type { CodePlanes } from "../formats/palettized-linear";

const BIT = Uint8Array.from({ length: 32 }, (_, c) => planeBit(c));

/**
 * @param codes [rows, cols] row-major; in a block of b bits each code is below 2^b.
 * @param bits [ceil(rows / 16)], 2, 3 or 4 for each block of 16 rows. It is kept, not copied.
 * Rows are padded to whole blocks and cols to a multiple of 64 with code 0. A code's top two bits go to plane0, the next
 * to plane1, the last to plane2.
 */
export function packPlanes(codes: Uint8Array, bits: Uint8Array, rows: number, cols: number): CodePlanes {
  const colsPadded = padTo(cols, COLUMN_MULTIPLE);
  const words0 = colsPadded / 16;
  const words1 = colsPadded / 32;
  const rowsOfWidth = (least: number) => bits.filter((width) => width >= least).length * PALETTE_ROWS;
  const plane0 = new Uint32Array(rowsOfWidth(2) * words0);
  const plane1 = new Uint32Array(rowsOfWidth(3) * words1);
  const plane2 = new Uint32Array(rowsOfWidth(4) * words1);
  let at1 = 0;
  let at2 = 0;
  for (let block = 0; block < bits.length; block++) {
    const width = bits[block];
    for (let r = block * PALETTE_ROWS; r < (block + 1) * PALETTE_ROWS; r++) {
      if (r < rows) {
        for (let c = 0, i = r * cols; c < cols; c++, i++) {
          const code = codes[i];
          plane0[r * words0 + (c >> 4)] |= (code >> (width - 2)) << (2 * (c & 15));
          if (width >= 3) plane1[at1 + (c >> 5)] |= ((code >> (width - 3)) & 1) << BIT[c & 31];
          if (width === 4) plane2[at2 + (c >> 5)] |= (code & 1) << BIT[c & 31];
        }
      }
      if (width >= 3) at1 += words1;
      if (width === 4) at2 += words1;
    }
  }
  return { bits, plane0, plane1: plane1.length ? plane1 : undefined, plane2: plane2.length ? plane2 : undefined };
}
