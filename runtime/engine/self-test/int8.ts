/** Linears and activations in int8, as the twins read them and as the GPU holds them. */
import { int8RowWords } from "../../../kernels/int8-row";
import type { Int8Weights } from "../../../kernels/int8-weights";
import type { Int8Matrix } from "../../../kernels/reference/expand-int8";
import { type Int8Row, int8Row, int8RowValues, packInt8Row, unpackInt8Row } from "../../../kernels/reference/int8-row";
import { padTo } from "../../formats/palettized";
import { packKept, paddedKept } from "../pack-blocks";
import { type Allocator, READABLE } from "./data";

/** `Int8Weights.codes` of linears stacked by rows, each padded to whole blocks. */
export function int8Codes(matrices: readonly Int8Matrix[]): Int8Array {
  const cols = padTo(matrices[0].cols, 64);
  const rows = matrices.reduce((sum, matrix) => sum + padTo(matrix.rows, 16), 0);
  const all = new Int8Array(rows * cols);
  let first = 0;
  for (const matrix of matrices) {
    for (let r = 0; r < matrix.rows; r++) {
      const row = first + r;
      for (let c = 0; c < matrix.cols; c++)
        all[((row >> 2) * (cols / 4) + (c >> 2)) * 16 + (row & 3) * 4 + (c & 3)] = matrix.codes[r * matrix.cols + c];
    }
    first += padTo(matrix.rows, 16);
  }
  return all;
}

/** `Int8Weights.scales` of the same. */
export const int8Scales = (matrices: readonly Int8Matrix[]): Float32Array =>
  Float32Array.from(matrices.flatMap(({ rows, scales }) => [...scales, ...Array<number>(padTo(rows, 16) - rows).fill(0)]));

/** What stands in the buffer of codes: those, and behind them what a matrix that stands alone keeps. */
export function codeBytes(matrices: readonly Int8Matrix[]): Int8Array {
  const codes = int8Codes(matrices);
  const [{ kept, rows }] = matrices;
  if (!kept) return codes;
  const words = packKept(kept, rows);
  const all = new Int8Array(codes.length + words.byteLength);
  all.set(codes);
  all.set(new Int8Array(words.buffer), codes.length);
  return all;
}

/** The matrices stacked by rows on the GPU. */
export function uploadInt8(on: Allocator, matrices: readonly Int8Matrix[]): Int8Weights {
  const codes = codeBytes(matrices);
  const scales = int8Scales(matrices);
  return {
    rows: scales.length,
    cols: padTo(matrices[0].cols, 64),
    codes: on.upload("codes", codes),
    scales: on.upload("scales", scales),
    kept: paddedKept(matrices[0].kept?.index.length ?? 0),
    bytes: codes.byteLength + scales.byteLength,
  };
}

/** Rows one after the other on the GPU. */
export function uploadRows(on: Allocator, rows: readonly Int8Row[]): GPUBuffer {
  const words = int8RowWords(rows[0].codes.length);
  const all = new Uint32Array(rows.length * words);
  rows.forEach((row, t) => {
    all.set(packInt8Row(row), t * words);
  });
  return on.upload("x8", all);
}

/** Room for rows of `cols` columns, a multiple of 64. */
export const roomForRows = (on: Allocator, cols: number, rows = 1): GPUBuffer =>
  on.buffer("y8", 4 * rows * int8RowWords(cols), READABLE);

/** What row `t` of a buffer stands for, [cols]. */
export const rowValues = (bytes: ArrayBuffer, cols: number, t = 0): Float64Array => int8RowValues(unpackInt8Row(bytes, cols, t));

/** What `values` stand for once they are in int8, [cols padded to 64]. */
export const quantized = (values: ArrayLike<number>): Float64Array => int8RowValues(int8Row(values));

/** Values in int8 compared: a code may fall to its neighbour where f32 and f64 round apart. */
export const int8Gate = () => 1e-5;
