/**
 * The term of low rank that mends a quantized linear best without any training. With E = W - Q(W) and H the second moments of the
 * inputs, the output error of B A beside Q(W) is tr (E - B A) H (E - B A)^T, and the least for a rank is at B = U, A = U^T E with U
 * the leading eigenvectors of E H E^T (Eckart-Young in the metric of H; for quantization LQER, arXiv 2402.02446).
 */
import { multiply, multiplyTransposed } from "../compute/multiply";
import type { Terms } from "./low-rank";

/** Vectors beyond the rank, which let those within it settle. */
const SPARE = 8;
const ITERATIONS = 12;

/**
 * Fills `terms`; where the rank exceeds the rows, the last components stay zero.
 * @param error W - Q(W), [rows, cols].
 * @param moments [cols, cols]
 * @param seed Of the vectors with which the iteration begins.
 */
export function fitLowRank(terms: Terms, error: Float32Array, moments: Float32Array, rows: number, seed: number): void {
  const cols = error.length / rows;
  const rank = terms.a.length / cols;
  const count = Math.min(rank + SPARE, rows);
  /** [count, rows] */
  let vectors = startVectors(count * rows, seed);
  orthonormalize(vectors, rows);
  for (let i = 0; i < ITERATIONS; i++) {
    // E H E^T on every vector.
    vectors = multiply(error, multiply(moments, multiplyTransposed(error, vectors, count), count), count);
    orthonormalize(vectors, rows);
  }
  const kept = Math.min(rank, count);
  const projected = multiplyTransposed(error, vectors.subarray(0, kept * rows), kept);
  for (let i = 0; i < kept; i++) {
    const row = projected.subarray(i * cols, (i + 1) * cols);
    // A and B move alike in training where they are of one length, and neither leaves f16.
    const root = Math.sqrt(length(row));
    if (root === 0) continue;
    for (let c = 0; c < cols; c++) terms.a[i * cols + c] = row[c] / root;
    for (let r = 0; r < rows; r++) terms.b[r * rank + i] = vectors[i * rows + r] * root;
  }
}

/** Any that are not orthogonal to what is looked for: uniform in [-1, 1). */
function startVectors(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Gram-Schmidt along the vectors of `size` values, in place, each twice: once leaves rounding behind. One that depends on others becomes 0. */
function orthonormalize(vectors: Float32Array, size: number): void {
  const count = vectors.length / size;
  for (let i = 0; i < count; i++) {
    const vector = vectors.subarray(i * size, (i + 1) * size);
    const before = length(vector);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = vectors.subarray(j * size, (j + 1) * size);
        let dot = 0;
        for (let c = 0; c < size; c++) dot += vector[c] * other[c];
        for (let c = 0; c < size; c++) vector[c] -= dot * other[c];
      }
    }
    const after = length(vector);
    const scale = after > 1e-5 * before ? 1 / after : 0;
    for (let c = 0; c < size; c++) vector[c] *= scale;
  }
}

function length(vector: Float32Array): number {
  let squares = 0;
  for (let c = 0; c < vector.length; c++) squares += vector[c] ** 2;
  return Math.sqrt(squares);
}
