/**
 * x R and x R^T for the orthogonal R = diag(signs) (C kron H): signs, then an orthonormal DCT-II C across blocks of an
 * orthonormal Hadamard transform H. Dense loops, no butterflies.
 *
 *   (x R)[j h + b] = sum_i sum_a signs[i h + a] x[i h + a] C[i, j] H[a, b]
 */
export interface Rotation {
  /** Size of C. */
  dct: number;
  /** Size of H, a power of two; vectors are dct * hadamard wide. */
  hadamard: number;
  /** [dct * hadamard], each +1 or -1. */
  signs: Float32Array;
  /** C, [dct, dct] row-major. */
  cosines: Float32Array;
}

/** H[a, b]: the sign is the parity of the bits that a and b share. */
function hadamardEntry(a: number, b: number, size: number): number {
  let parity = 0;
  for (let shared = a & b; shared; shared &= shared - 1) parity ^= 1;
  return (parity ? -1 : 1) / Math.sqrt(size);
}

export function rotate({ dct, hadamard, signs, cosines }: Rotation, x: ArrayLike<number>): Float64Array {
  const mixed = new Float64Array(dct * hadamard);
  for (let j = 0; j < dct; j++)
    for (let a = 0; a < hadamard; a++)
      for (let i = 0; i < dct; i++)
        mixed[j * hadamard + a] += signs[i * hadamard + a] * x[i * hadamard + a] * cosines[i * dct + j];
  return hadamardBlocks(mixed, dct, hadamard);
}

export function unrotate({ dct, hadamard, signs, cosines }: Rotation, x: ArrayLike<number>): Float64Array {
  const mixed = hadamardBlocks(x, dct, hadamard);
  const y = new Float64Array(dct * hadamard);
  for (let i = 0; i < dct; i++)
    for (let a = 0; a < hadamard; a++)
      for (let j = 0; j < dct; j++)
        y[i * hadamard + a] += signs[i * hadamard + a] * mixed[j * hadamard + a] * cosines[i * dct + j];
  return y;
}

/** Each of the `dct` blocks times H, which is its own inverse. */
function hadamardBlocks(x: ArrayLike<number>, dct: number, hadamard: number): Float64Array {
  const y = new Float64Array(dct * hadamard);
  for (let j = 0; j < dct; j++)
    for (let b = 0; b < hadamard; b++)
      for (let a = 0; a < hadamard; a++) y[j * hadamard + b] += x[j * hadamard + a] * hadamardEntry(a, b, hadamard);
  return y;
}
