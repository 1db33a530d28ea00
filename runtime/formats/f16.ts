/**
 * IEEE 754 half precision (binary16) to and from f32, round to nearest, ties to even.
 * Node 20 and Firefox ESR have no Float16Array, and palettes, row scales and GGUF scales are f16.
 */
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** Bits of a binary16 to its value; exact. */
export function f16ToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Nearest binary16, as bits; values beyond 65,504 become infinite as IEEE 754 says. */
export function f32ToF16(value: number): number {
  f32[0] = value;
  const x = u32[0];
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal half: round |value| / 2^-24 to the nearest integer, ties to even.
    const scaled = Math.abs(f32[0]) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor);
  }
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
  return sign | (rounded >>> 13);
}

const table = /* @__PURE__ */ (() => {
  let values: Float32Array | undefined;
  return () => {
    if (!values) {
      values = new Float32Array(65536);
      for (let i = 0; i < 65536; i++) values[i] = f16ToF32(i);
    }
    return values;
  };
})();

/** A whole array of halves, through a table: about a nanosecond a value. */
export function f16ArrayToF32(halves: Uint16Array, out = new Float32Array(halves.length)): Float32Array {
  const lookup = table();
  for (let i = 0; i < halves.length; i++) out[i] = lookup[halves[i]];
  return out;
}

/** A whole array to halves. */
export function f32ArrayToF16(values: ArrayLike<number>, out = new Uint16Array(values.length)): Uint16Array {
  for (let i = 0; i < values.length; i++) out[i] = f32ToF16(values[i]);
  return out;
}

/** The value after a round trip through f16. */
export const roundToF16 = (value: number): number => f16ToF32(f32ToF16(value));
