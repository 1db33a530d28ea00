import { BLOCK_WORDS, keptWords } from "../../kernels/palette-weights";
import { narrowKept, narrowPalettes } from "../formats/narrow";
import { PALETTE_ROWS, padTo } from "../formats/palettized";
import type { KeptColumns } from "../formats/palettized-linear";

/** The small tensors of one palettized linear; palettes of a width stand in block order. */
export interface BlockTensors {
  rows: number;
  /** [blocks], each 2, 3 or 4. */
  bits: Uint8Array;
  /** f16 bits, [blocks of the width, 2^width]. */
  palette4?: Uint16Array;
  palette3?: Uint16Array;
  palette2?: Uint16Array;
  /** f16 bits, [rows]. */
  rowScale: Uint16Array;
  kept?: KeptColumns;
}

/**
 * What stands in the `blocks` buffer of linears stacked by rows: the records of their blocks, and behind them what the one keeps
 * that stands alone. At the widths `bits`, each at most what is stored.
 */
export function packStack(parts: readonly { stored: BlockTensors; bits: Uint8Array }[]): Uint32Array {
  const records = packBlocks(parts.map(({ stored, bits }) => ({ ...stored, ...narrowPalettes(stored, bits) })));
  const [{ stored, bits }] = parts;
  if (!stored.kept) return records;
  const kept = packKept(narrowKept(stored.kept, stored, bits), stored.rows);
  const words = new Uint32Array(records.length + kept.length);
  words.set(records);
  words.set(kept, records.length);
  return words;
}

/**
 * The records of linears stacked by rows (wgsl/lib/palette-weights.wgsl): per block its width, where its plane1 and
 * plane2 rows start in the stacked planes, its palette spread over 16 entries, its row scales. Padded rows have scale 0.
 */
export function packBlocks(linears: readonly BlockTensors[]): Uint32Array {
  const total = linears.reduce((sum, { rows }) => sum + padTo(rows, PALETTE_ROWS) / PALETTE_ROWS, 0);
  const words = new Uint32Array(total * BLOCK_WORDS);
  const halves = new Uint16Array(words.buffer);
  let at = 0;
  let plane1Row = 0;
  let plane2Row = 0;
  for (const { rows, bits, palette4, palette3, palette2, rowScale } of linears) {
    const palettes: Record<number, Uint16Array | undefined> = { 4: palette4, 3: palette3, 2: palette2 };
    const used: Record<number, number> = { 4: 0, 3: 0, 2: 0 };
    for (let block = 0; block < bits.length; block++) {
      const width = bits[block];
      const word = at * BLOCK_WORDS;
      words[word] = width;
      words[word + 1] = plane1Row;
      words[word + 2] = plane2Row;
      if (width >= 3) plane1Row += PALETTE_ROWS;
      if (width === 4) plane2Row += PALETTE_ROWS;
      const first = used[width]++ << width;
      for (let code = 0; code < 16; code++) halves[2 * (word + 4) + code] = palettes[width]![first + (code >> (4 - width))];
      const firstRow = block * PALETTE_ROWS;
      for (let r = 0; r < Math.min(PALETTE_ROWS, rows - firstRow); r++) halves[2 * (word + 12) + r] = rowScale[firstRow + r];
      at++;
    }
  }
  return words;
}

/** Columns that kernels keep where a file keeps `n`: they read four at a time at most, and those beyond are zero. */
export const paddedKept = (n: number): number => padTo(n, 4);

/** Kept columns of `rows` rows as the kernels read them (wgsl/lib/kept-columns.wgsl), rows padded to whole blocks. */
export function packKept({ index, values }: KeptColumns, rows: number): Uint32Array {
  const n = paddedKept(index.length);
  const words = new Uint32Array(keptWords(padTo(rows, PALETTE_ROWS), n));
  words.set(index);
  const halves = new Uint16Array(words.buffer, 4 * n);
  for (let r = 0; r < rows; r++)
    for (let j = 0; j < index.length; j++) halves[((r >> 2) * n + j) * 4 + (r & 3)] = values[r * index.length + j];
  return words;
}

/**
 * A plane as the kernels read it (wgsl/lib/palette-weights.wgsl): of [rows, cols/32, words] in the file,
 * [rows/4, words, cols/32, 4]. Rows a multiple of 4; `words` of 32 columns: 2 in plane0, 1 in the others.
 */
export function interleaveRows(plane: Uint32Array, cols: number, words: number): Uint32Array {
  const steps = cols / 32;
  const stride = steps * words;
  const result = new Uint32Array(plane.length);
  let to = 0;
  for (let row = 0; row < plane.length / stride; row += 4) {
    for (let word = 0; word < words; word++) {
      for (let from = row * stride + word; from < row * stride + stride; from += words) {
        for (let r = 0; r < 4; r++) result[to++] = plane[from + r * stride];
      }
    }
  }
  return result;
}
