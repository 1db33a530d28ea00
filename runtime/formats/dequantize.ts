/**
 * Stored elements to f32. The block layouts are ggml's (ggml-common.h), here those of 32 values a block:
 *   Q8_0  f16 d, 32 x int8              value = q d
 *   Q4_0  f16 d, 16 bytes               value = (nibble - 8) d
 *   Q4_1  f16 d, f16 m, 16 bytes        value = nibble d + m
 *   Q5_0  f16 d, u32 high, 16 bytes     value = (5-bit code - 16) d
 *   Q5_1  f16 d, f16 m, u32 high, 16 bytes  value = 5-bit code d + m
 *   IQ4_NL  f16 d, 16 bytes             value = table[nibble] d
 *   MXFP4  u8 e, 16 bytes               value = E2M1(nibble) 2^(e - 127)
 * The low nibbles of a block's 16 bytes are its first 16 values, the high nibbles its last 16. Bit i of `high` is the fifth
 * bit of value i.
 */
import { OchreError } from "../errors";
import type { DType } from "./checkpoint";
import { dequantizeQ6K, dequantizeQ45K } from "./dequantize-k";
import { f16ArrayToF32, f16ToF32 } from "./f16";

/** Values in a block, and the bytes that hold them. Plain types have blocks of one. */
export const BLOCKS: Readonly<Record<DType, { values: number; bytes: number }>> = {
  F64: { values: 1, bytes: 8 },
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  I64: { values: 1, bytes: 8 },
  I32: { values: 1, bytes: 4 },
  I16: { values: 1, bytes: 2 },
  I8: { values: 1, bytes: 1 },
  U8: { values: 1, bytes: 1 },
  U32: { values: 1, bytes: 4 },
  BOOL: { values: 1, bytes: 1 },
  Q8_0: { values: 32, bytes: 34 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q5_0: { values: 32, bytes: 22 },
  Q5_1: { values: 32, bytes: 24 },
  IQ4_NL: { values: 32, bytes: 18 },
  MXFP4: { values: 32, bytes: 17 },
  Q4_K: { values: 256, bytes: 144 },
  Q5_K: { values: 256, bytes: 176 },
  Q6_K: { values: 256, bytes: 210 },
};

/** Types that a GGUF file may hold its tensors in. */
export const GGUF_TYPES: readonly DType[] = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q4_0",
  "Q4_1",
  "Q5_0",
  "Q5_1",
  "Q4_K",
  "Q5_K",
  "Q6_K",
  "IQ4_NL",
  "MXFP4",
];

/** Stored bytes of one tensor to f32. Throws INTERNAL where the bytes are not whole blocks: a reader has checked them before. */
export function dequantize(dtype: DType, bytes: Uint8Array): Float32Array {
  const block = BLOCKS[dtype];
  const blocks = bytes.length / block.bytes;
  if (!Number.isInteger(blocks))
    throw new OchreError("INTERNAL", `[dequantize] ${dtype} bytes must be a multiple of ${block.bytes} but are ${bytes.length}.`);
  switch (dtype) {
    case "F64":
      return new Float32Array(view(bytes, Float64Array));
    case "F32":
      return new Float32Array(view(bytes, Float32Array));
    case "F16":
      return f16ArrayToF32(view(bytes, Uint16Array));
    case "BF16":
      return bf16ArrayToF32(view(bytes, Uint16Array));
    case "I64":
      return Float32Array.from(view(bytes, BigInt64Array), Number);
    case "I32":
      return new Float32Array(view(bytes, Int32Array));
    case "I16":
      return new Float32Array(view(bytes, Int16Array));
    case "I8":
      return new Float32Array(view(bytes, Int8Array));
    case "U32":
      return new Float32Array(view(bytes, Uint32Array));
    case "U8":
    case "BOOL":
      return new Float32Array(bytes);
    case "Q8_0":
      return dequantizeQ8(bytes, blocks);
    case "Q4_0":
      return dequantizeQ4(bytes, blocks, 18);
    case "Q4_1":
      return dequantizeQ4(bytes, blocks, 20);
    case "Q5_0":
      return dequantizeQ5(bytes, blocks, 22);
    case "Q5_1":
      return dequantizeQ5(bytes, blocks, 24);
    case "IQ4_NL":
      return dequantizeTable(bytes, blocks, IQ4_NL, 18);
    case "MXFP4":
      return dequantizeTable(bytes, blocks, E2M1, 17);
    case "Q4_K":
      return dequantizeQ45K(bytes, blocks, 0);
    case "Q5_K":
      return dequantizeQ45K(bytes, blocks, 32);
    case "Q6_K":
      return dequantizeQ6K(bytes, blocks);
  }
}

interface TypedArrayType<T> {
  new (buffer: ArrayBufferLike, offset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** The bytes as another element type: a view where they are aligned, else a copy. Little-endian, as every WebGPU host is. */
export function view<T>(bytes: Uint8Array, type: TypedArrayType<T>): T {
  const aligned = bytes.byteOffset % type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new type(aligned.buffer, aligned.byteOffset, aligned.length / type.BYTES_PER_ELEMENT);
}

function bf16ArrayToF32(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

function dequantizeQ8(bytes: Uint8Array, blocks: number): Float32Array {
  const out = new Float32Array(blocks * 32);
  for (let b = 0, at = 0, to = 0; b < blocks; b++) {
    const d = f16ToF32(bytes[at] | (bytes[at + 1] << 8));
    at += 2;
    for (let i = 0; i < 32; i++) out[to++] = ((bytes[at++] << 24) >> 24) * d;
  }
  return out;
}

/** Q4_0 is Q4_1 with m = -8 d: the products are small enough for f64 to hold exactly, so both round once, on store. */
function dequantizeQ4(bytes: Uint8Array, blocks: number, blockBytes: 18 | 20): Float32Array {
  const out = new Float32Array(blocks * 32);
  for (let b = 0, at = 0, to = 0; b < blocks; b++, to += 32) {
    const d = f16ToF32(bytes[at] | (bytes[at + 1] << 8));
    const m = blockBytes === 20 ? f16ToF32(bytes[at + 2] | (bytes[at + 3] << 8)) : -8 * d;
    at += blockBytes - 16;
    for (let i = 0; i < 16; i++, at++) {
      out[to + i] = (bytes[at] & 15) * d + m;
      out[to + 16 + i] = (bytes[at] >> 4) * d + m;
    }
  }
  return out;
}

/** Q5_0 is Q5_1 with m = -16 d, exact for the same reason. */
function dequantizeQ5(bytes: Uint8Array, blocks: number, blockBytes: 22 | 24): Float32Array {
  const out = new Float32Array(blocks * 32);
  for (let b = 0, at = 0, to = 0; b < blocks; b++, to += 32) {
    const d = f16ToF32(bytes[at] | (bytes[at + 1] << 8));
    const m = blockBytes === 24 ? f16ToF32(bytes[at + 2] | (bytes[at + 3] << 8)) : -16 * d;
    at += blockBytes - 16;
    const high = bytes[at - 4] | (bytes[at - 3] << 8) | (bytes[at - 2] << 16) | (bytes[at - 1] << 24);
    for (let i = 0; i < 16; i++, at++) {
      out[to + i] = ((bytes[at] & 15) | (((high >> i) & 1) << 4)) * d + m;
      out[to + 16 + i] = ((bytes[at] >> 4) | (((high >> (16 + i)) & 1) << 4)) * d + m;
    }
  }
  return out;
}

/** The levels of IQ4_NL: dense around zero, where most weights are. */
const IQ4_NL: readonly number[] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** The 4-bit floats of the OCP microscaling formats: a sign, two bits of exponent, one of mantissa. */
const E2M1: readonly number[] = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

/** Nibbles that index a table. IQ4_NL has an f16 scale a block, MXFP4 a power of two in one byte (255 is 2^128 to ggml, not NaN). */
function dequantizeTable(bytes: Uint8Array, blocks: number, table: readonly number[], blockBytes: 17 | 18): Float32Array {
  const out = new Float32Array(blocks * 32);
  for (let b = 0, at = 0, to = 0; b < blocks; b++, to += 32) {
    const d = blockBytes === 18 ? f16ToF32(bytes[at] | (bytes[at + 1] << 8)) : 2 ** (bytes[at] - 127);
    at += blockBytes - 16;
    for (let i = 0; i < 16; i++, at++) {
      out[to + i] = table[bytes[at] & 15] * d;
      out[to + 16 + i] = table[bytes[at] >> 4] * d;
    }
  }
  return out;
}
