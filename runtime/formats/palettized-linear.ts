/**
 * One palettized linear as it stands in memory, and its way back to plain weights. The layout is the one that
 * palettized.ts describes; `bits` alone says which rows plane1, plane2 and each palette hold.
 */
import { OchreError } from "../errors";
import { f16ArrayToF32 } from "./f16";
import { BlockPalettes } from "./narrow";
import { COLUMN_MULTIPLE, PALETTE_ROWS, padTo, planeBit } from "./palettized";

/** Codes of one linear: three planes, and the width of each block of 16 rows. */
export interface CodePlanes {
  /** [blocks], 2, 3 or 4: the width of a code in this block of 16 rows. */
  bits: Uint8Array;
  /** [blocks * 16, colsPadded / 16]. */
  plane0: Uint32Array;
  /** [rows of blocks with >= 3 bits, colsPadded / 32]; absent where there is no such block. */
  plane1?: Uint32Array;
  /** [rows of blocks with 4 bits, colsPadded / 32]; absent where there is no such block. */
  plane2?: Uint32Array;
}

/**
 * Input columns whose inputs are so large that what their codes lack is kept beside them:
 * y[r] = sum over c of decoded[r, c] x[c] + sum over j of values[r, j] x[index[j]].
 */
export interface KeptColumns {
  /** [n], rising. */
  index: Uint32Array;
  /** f16, [rows, n], without padding; row scales are in them. */
  values: Uint16Array;
}

export interface PalettizedLinear extends CodePlanes {
  /** f16, [blocks of 4 bits, 16]. */
  palette4?: Uint16Array;
  /** f16, [blocks of 3 bits, 8]. */
  palette3?: Uint16Array;
  /** f16, [blocks of 2 bits, 4]. */
  palette2?: Uint16Array;
  /** f16, [blocks * 16]; rows of padding have scale 0. */
  rowScale: Uint16Array;
  kept?: KeptColumns;
}

/** The entry of [0, 32) that bit `b` of a plane1 or plane2 word belongs to; the inverse of `planeBit`. */
const bitColumn = (() => {
  const columns = new Uint8Array(32);
  for (let c = 0; c < 32; c++) columns[planeBit(c)] = c;
  return columns;
})();

/**
 * Planes back to codes, [rows, cols] row-major, without the padding.
 * @throws OchreError MODEL_FORMAT where a block's width is not 2, 3 or 4, or a plane is too short for the widths.
 */
export function unpackCodes(planes: CodePlanes, rows: number, cols: number): Uint8Array {
  const { bits, plane0, plane1, plane2 } = planes;
  const colsPadded = padTo(cols, COLUMN_MULTIPLE);
  const words0 = colsPadded / 16;
  const words1 = colsPadded / 32;
  checkPlanes(planes, rows, cols);
  const codes = new Uint8Array(rows * cols);
  const row = new Uint8Array(colsPadded);
  let row1 = 0;
  let row2 = 0;
  for (let r = 0; r < rows; r++) {
    const width = bits[Math.floor(r / PALETTE_ROWS)];
    for (let i = 0, at = r * words0; i < words0; i++, at++) {
      const word = plane0[at];
      for (let j = 0; j < 16; j++) row[16 * i + j] = (word >>> (2 * j)) & 3;
    }
    if (width >= 3) appendPlane(row, plane1!, row1++ * words1, words1);
    if (width === 4) appendPlane(row, plane2!, row2++ * words1, words1);
    codes.set(row.subarray(0, cols), r * cols);
  }
  return codes;
}

/** row[c] = row[c] << 1 | the plane's bit for column c. */
function appendPlane(row: Uint8Array, plane: Uint32Array, offset: number, words: number): void {
  for (let i = 0; i < words; i++) {
    const word = plane[offset + i];
    for (let b = 0; b < 32; b++) {
      const c = 32 * i + bitColumn[b];
      row[c] = (row[c] << 1) | ((word >>> b) & 1);
    }
  }
}

function checkPlanes({ bits, plane0, plane1, plane2 }: CodePlanes, rows: number, cols: number): void {
  const blocks = Math.ceil(rows / PALETTE_ROWS);
  const colsPadded = padTo(cols, COLUMN_MULTIPLE);
  if (bits.length !== blocks) fail(`bits must hold ${blocks} blocks of ${PALETTE_ROWS} rows but holds ${bits.length}`);
  const wrong = bits.find((width) => width < 2 || width > 4);
  if (wrong !== undefined) fail(`a block's width must be 2, 3 or 4 bits but is ${wrong}`);
  const expect = (name: string, plane: Uint32Array | undefined, least: number, columnsPerWord: number) => {
    const words = bits.filter((width) => width >= least).length * PALETTE_ROWS * (colsPadded / columnsPerWord);
    const length = plane?.length ?? 0;
    if (length !== words) fail(`${name} must hold ${words} words for [${rows}, ${cols}] but holds ${length}`);
  };
  expect("plane0", plane0, 2, 16);
  expect("plane1", plane1, 3, 32);
  expect("plane2", plane2, 4, 32);
}

/**
 * The weights that the codes stand for, f32 [rows, cols] row-major: palette[code] * row_scale, and what kept columns add.
 * @throws OchreError MODEL_FORMAT where planes, palettes or scales do not fit `bits` and the shape.
 */
export function dequantizeLinear(linear: PalettizedLinear, rows: number, cols: number): Float32Array {
  const codes = unpackCodes(linear, rows, cols);
  const scales = f16ArrayToF32(linear.rowScale);
  if (scales.length < rows) fail(`row_scale must hold ${rows} rows but holds ${scales.length}`);
  const palettes = new BlockPalettes(linear);
  const entries = new Float32Array(16);
  const weights = new Float32Array(rows * cols);
  for (let block = 0; block * PALETTE_ROWS < rows; block++) {
    const width = linear.bits[block];
    const halves = palettes.stored(block, width);
    if (halves?.length !== 1 << width) fail(`palette${width} must hold a palette for block ${block} but holds none`);
    const palette = f16ArrayToF32(halves);
    for (let r = block * PALETTE_ROWS; r < Math.min(rows, (block + 1) * PALETTE_ROWS); r++) {
      for (let i = 0; i < 1 << width; i++) entries[i] = palette[i] * scales[r];
      for (let i = r * cols; i < (r + 1) * cols; i++) weights[i] = entries[codes[i]];
    }
  }
  if (linear.kept) addKept(weights, linear.kept, rows, cols);
  return weights;
}

/**
 * Adds kept columns to weights [rows, cols].
 * @throws OchreError MODEL_FORMAT where they do not fit the shape.
 */
export function addKept(weights: Float32Array, { index, values }: KeptColumns, rows: number, cols: number): void {
  if (values.length !== rows * index.length)
    fail(`kept must hold ${rows} rows of ${index.length} values but holds ${values.length}`);
  const wrong = index.find((column) => column >= cols);
  if (wrong !== undefined) fail(`kept_index must be below ${cols} but is ${wrong}`);
  const added = f16ArrayToF32(values);
  for (let r = 0, i = 0; r < rows; r++) for (const column of index) weights[r * cols + column] += added[i++];
}

function fail(what: string): never {
  throw new OchreError(
    "MODEL_FORMAT",
    `[palettized linear] ${what}; the shard is not what the format says, fetch or compile it again.`,
  );
}
