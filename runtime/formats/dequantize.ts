/**
 * Stored elements to f32. The block layouts are ggml's (ggml-common.h), here those of 32 values a block:
 *   Q8_0  f16 d, 32 x int8              value = q d
 *   Q4_0  f16 d, 16 bytes               value = (nibble - 8) d
 *   Q4_1  f16 d, f16 m, 16 bytes        value = nibble d + m
 * The low nibbles of a block's 16 bytes are its first 16 values, the high nibbles its last 16.
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
  Q4_K: { values: 256, bytes: 144 },
  Q5_K: { values: 256, bytes: 176 },
  Q6_K: { values: 256, bytes: 210 },
};

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
