/**
 * ggml's K blocks (ggml-quants.c), 256 values each, to f32:
 *   Q4_K  f16 d, f16 dmin, 12 bytes of scales, 128 bytes          value = nibble (d scale) - dmin min
 *   Q5_K  f16 d, f16 dmin, 12 bytes of scales, 32 bytes, 128 bytes  the same, with a fifth bit from the 32 bytes
 *   Q6_K  128 bytes, 64 bytes, 16 x int8 scales, f16 d              value = (6-bit code - 32) d scale
 */
import { f16ToF32 } from "./f16";

const f16At = (bytes: Uint8Array, at: number): number => f16ToF32(bytes[at] | (bytes[at + 1] << 8));

/** Q4_K, and Q5_K with `highBytes` = 32. 64 values share 32 bytes: low nibbles first, then high ones, each half with its own scale and min. */
export function dequantizeQ45K(bytes: Uint8Array, blocks: number, highBytes: 0 | 32): Float32Array {
  const out = new Float32Array(blocks * 256);
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 144 + highBytes) {
    const d = f16At(bytes, at);
    const dmin = f16At(bytes, at + 2);
    for (let part = 0; part < 8; part++) {
      const [scale, min] = scaleAndMin(bytes, at + 4, part);
      const factor = Math.fround(d * scale);
      const offset = Math.fround(dmin * min);
      const low = at + 16 + highBytes + 32 * (part >> 1);
      const shift = 4 * (part & 1);
      for (let i = 0; i < 32; i++) {
        const high = highBytes ? ((bytes[at + 16 + i] >> part) & 1) << 4 : 0;
        out[to++] = (((bytes[low + i] >> shift) & 15) | high) * factor - offset;
      }
    }
  }
  return out;
}

/** Eight scales and eight mins of 6 bits in 12 bytes: four bytes of each, then the rest's nibbles, whose top bits fill the first eight bytes. */
function scaleAndMin(bytes: Uint8Array, at: number, part: number): [number, number] {
  if (part < 4) return [bytes[at + part] & 63, bytes[at + part + 4] & 63];
  const nibbles = bytes[at + part + 4];
  return [(nibbles & 15) | ((bytes[at + part - 4] >> 6) << 4), (nibbles >> 4) | ((bytes[at + part] >> 6) << 4)];
}

/** Each half of 128 values has 64 bytes of nibbles and 32 bytes of upper bits; 16 values share a scale. */
export function dequantizeQ6K(bytes: Uint8Array, blocks: number): Float32Array {
  const out = new Float32Array(blocks * 256);
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 210) {
    const d = f16At(bytes, at + 208);
    for (let part = 0; part < 8; part++) {
      const quarter = part & 3;
      const low = at + 64 * (part >> 2) + 32 * (quarter & 1);
      const high = at + 128 + 32 * (part >> 2);
      for (let i = 0; i < 32; i++) {
        const scale = (bytes[at + 192 + 2 * part + (i >> 4)] << 24) >> 24;
        const code = ((bytes[low + i] >> (4 * (quarter >> 1))) & 15) | (((bytes[high + i] >> (2 * quarter)) & 3) << 4);
        out[to++] = Math.fround(d * scale) * (code - 32);
      }
    }
  }
  return out;
}
