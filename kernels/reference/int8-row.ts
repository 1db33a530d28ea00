/**
 * Twin of wgsl/lib/int8-row: a row of activations as int8 codes with a scale for every 16 columns.
 *
 *   scale = max |x| / 127 of the 16,  code = x / scale to the nearest, ties to even;  x ~ scale * code
 */
export interface Int8Row {
  /** [cols], -127 to 127. */
  codes: Int8Array;
  /** f32 [cols / 16]. */
  scales: Float32Array;
}

const BLOCK = 16;

/** A row quantized; columns are padded with zeros to a multiple of 64. */
export function int8Row(x: ArrayLike<number>): Int8Row {
  const cols = 64 * Math.ceil(x.length / 64);
  const codes = new Int8Array(cols);
  const scales = new Float32Array(cols / BLOCK);
  for (let first = 0; first < x.length; first += BLOCK) {
    const end = Math.min(first + BLOCK, x.length);
    let largest = 0;
    for (let c = first; c < end; c++) largest = Math.max(largest, Math.abs(x[c]));
    if (largest === 0) continue;
    scales[first / BLOCK] = largest / 127;
    for (let c = first; c < end; c++) codes[c] = roundToEven((x[c] * 127) / largest);
  }
  return { codes, scales };
}

/** [cols], what the codes stand for. */
export const int8RowValues = ({ codes, scales }: Int8Row): Float64Array =>
  Float64Array.from(codes, (code, c) => code * scales[c >> 4]);

/** The row as the GPU holds it. */
export function packInt8Row({ codes, scales }: Int8Row): Uint32Array {
  const words = new Uint32Array((codes.length + 4 * scales.length) / 4);
  new Int8Array(words.buffer).set(codes);
  new Float32Array(words.buffer).set(scales, codes.length / 4);
  return words;
}

/** Of what the GPU holds, row `t` of `cols` columns, a multiple of 64. */
export function unpackInt8Row(bytes: ArrayBuffer, cols: number, t = 0): Int8Row {
  const start = t * (cols + cols / 4);
  return {
    codes: new Int8Array(bytes.slice(start, start + cols)),
    scales: new Float32Array(bytes.slice(start + cols, start + cols + cols / 4)),
  };
}

function roundToEven(v: number): number {
  const floor = Math.floor(v);
  const rest = v - floor;
  if (rest !== 0.5) return Math.round(v);
  return floor % 2 === 0 ? floor : floor + 1;
}
