/**
 * Orthogonal rotation R = diag(signs) (C kron H): random signs, then a small orthonormal DCT-II (C, dct x dct)
 * across blocks of an orthonormal Hadamard transform (H, hadamard x hadamard). Row vectors rotate as x R.
 * It flattens outlier channels before palettization (QuaRot, arXiv 2404.00456; SpinQuant, arXiv 2405.16406);
 * the DCT covers widths that are not a power of two, 576 = 9 x 64.
 */
export interface RotationSpec {
  /** Width of the rotated vectors, `dct * hadamard`. */
  readonly size: number;
  readonly dct: number;
  /** A power of two. */
  readonly hadamard: number;
  readonly seed: number;
}

export interface Rotation extends RotationSpec {
  /** [size], each +1 or -1. */
  readonly signs: Float32Array;
  /** Orthonormal DCT-II, [dct, dct] row-major: `y[j] = sum_i x[i] cosines[i * dct + j]`. */
  readonly cosines: Float32Array;
}

/** The spec with the largest power of two that divides `size`. */
export function rotationSpec(size: number, seed: number): RotationSpec {
  const hadamard = size & -size;
  return { size, hadamard, dct: size / hadamard, seed };
}

/** 32-bit finalizer of MurmurHash3: the signs must be the same on every machine and for ever. */
function hash32(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

export function makeRotation(spec: RotationSpec): Rotation {
  const { size, dct, seed } = spec;
  const signs = Float32Array.from({ length: size }, (_, i) => (hash32(seed + Math.imul(i + 1, 0x9e3779b9)) & 1 ? -1 : 1));
  const cosines = new Float32Array(dct * dct);
  for (let i = 0; i < dct; i++)
    for (let j = 0; j < dct; j++)
      cosines[i * dct + j] = Math.sqrt((j === 0 ? 1 : 2) / dct) * Math.cos((Math.PI * (i + 0.5) * j) / dct);
  return { ...spec, signs, cosines };
}

/** In place: data[offset + i * stride], i < size, becomes x R (or x R^T when `inverse`). Fast transforms, O(size (log hadamard + dct)). */
export function rotateVector(
  rotation: Rotation,
  data: Float64Array | Float32Array,
  offset = 0,
  stride = 1,
  inverse = false,
): void {
  const { size, signs } = rotation;
  const x = scratch(size);
  if (inverse) {
    for (let i = 0; i < size; i++) x[i] = data[offset + i * stride];
    hadamardBlocks(rotation, x);
    dctBlocks(rotation, x, true);
    for (let i = 0; i < size; i++) data[offset + i * stride] = x[i] * signs[i];
  } else {
    for (let i = 0; i < size; i++) x[i] = data[offset + i * stride] * signs[i];
    dctBlocks(rotation, x, false);
    hadamardBlocks(rotation, x);
    for (let i = 0; i < size; i++) data[offset + i * stride] = x[i];
  }
}

let buffer = new Float64Array(0);
function scratch(size: number): Float64Array {
  if (buffer.length < size) buffer = new Float64Array(size);
  return buffer;
}

function hadamardBlocks({ size, hadamard }: RotationSpec, x: Float64Array): void {
  for (let half = 1; half < hadamard; half *= 2)
    for (let start = 0; start < size; start += 2 * half)
      for (let i = start; i < start + half; i++) {
        const a = x[i];
        const b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
  const scale = 1 / Math.sqrt(hadamard);
  for (let i = 0; i < size; i++) x[i] *= scale;
}

function dctBlocks({ dct, hadamard, cosines }: Rotation, x: Float64Array, inverse: boolean): void {
  if (dct === 1) return;
  const column = new Float64Array(dct);
  for (let k = 0; k < hadamard; k++) {
    for (let i = 0; i < dct; i++) column[i] = x[i * hadamard + k];
    for (let j = 0; j < dct; j++) {
      let sum = 0;
      for (let i = 0; i < dct; i++) sum += column[i] * (inverse ? cosines[j * dct + i] : cosines[i * dct + j]);
      x[j * hadamard + k] = sum;
    }
  }
}
