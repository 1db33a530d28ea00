/** Error feedback's factor, in f64: blocked, so that nearly all of it is products of matrices, each sum in the order of the definition. */
import { doubleKernel, type Kernel, DOUBLE_LANES as LANES } from "./kernel";

/** Rows or columns that are finished one by one after the product with all before them. */
const PANEL = 16;
/** Of k, for which four columns of B stay in the nearest cache. */
const DEPTH = 512;

/**
 * U, upper triangular, with H^-1 = U^T U, from the second moments H [n, n] damped on the diagonal by `damping` of its mean.
 * Reversing the order of rows and columns turns one Cholesky factor and one triangular inverse into U, so H^-1 is never formed.
 */
export function inverseFactor(
  moments: Float32Array,
  n: number,
  damping: number,
  using: Kernel<Float64Array> = doubleKernel(),
): Float32Array {
  const padded = Math.ceil(n / PANEL) * PANEL;
  // L row by row; the inverse in panels of 4 columns, [padded][4] each; the columns that Cholesky works on, likewise.
  const atInverse = padded * padded;
  const atWork = 2 * atInverse;
  const atB = atWork + padded * PANEL;
  const memory = using.reserve(atB + DEPTH * LANES).subarray(0, atB + DEPTH * LANES);
  const at: Places = { using, memory, n, padded, atInverse, atWork, atB };
  memory.fill(0);
  factorize(moments, damping, at);
  invert(at);

  const factor = new Float32Array(n * n);
  const last = n * n - 1;
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++)
      factor[last - i * n - j] = memory[atInverse + (j - (j % LANES)) * padded + i * LANES + (j % LANES)];
  return factor;
}

interface Places {
  using: Kernel<Float64Array>;
  memory: Float64Array;
  n: number;
  /** n up to the next whole panel; rows and columns beyond n hold zeros. */
  padded: number;
  atInverse: number;
  atWork: number;
  atB: number;
}

/** L with L L^T = the moments, damped and in reverse: L[i, j] = (H[i, j] - sum_k L[i, k] L[j, k]) / L[j, j], k rising. */
function factorize(moments: Float32Array, damping: number, { using, memory, n, padded, atWork, atB }: Places): void {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += moments[i * n + i];
  const ridge = trace > 0 ? (damping * trace) / n : 1;
  const last = n * n - 1;
  for (let left = 0; left < n; left += PANEL) {
    const right = Math.min(n, left + PANEL);
    const rows = n - left;
    const place = (i: number, j: number) =>
      atWork + (j - left - ((j - left) % LANES)) * padded + (i - left) * LANES + ((j - left) % LANES);
    for (let j = left; j < right; j++)
      for (let i = j; i < n; i++) memory[place(i, j)] = moments[last - i * n - j] + (i === j ? ridge : 0);
    for (let lane = 0; lane < right - left; lane += LANES) {
      for (let from = 0; from < left; from += DEPTH) {
        const k = Math.min(DEPTH, left - from);
        for (let i = 0; i < k; i++)
          for (let j = 0; j < LANES; j++) memory[atB + i * LANES + j] = -memory[(left + lane + j) * padded + from + i];
        using.accumulate(left * padded + from, padded, 1, atB, atWork + lane * padded, rows, k);
      }
    }
    for (let j = left; j < right; j++) {
      for (let i = j; i < n; i++) {
        let sum = memory[place(i, j)];
        for (let k = left; k < j; k++) sum -= memory[i * padded + k] * memory[j * padded + k];
        memory[i * padded + j] = i === j ? Math.sqrt(sum) : sum / memory[j * padded + j];
      }
    }
  }
}

/** X = L^-1: X[i, i] = 1 / L[i, i], X[i, j] = sum_k (-L[i, k] / L[i, i]) X[k, j], k rising from j. L is overwritten with its terms. */
function invert({ using, memory, n, padded, atInverse }: Places): void {
  for (let i = 0; i < n; i++) {
    const scale = 1 / memory[i * padded + i];
    for (let k = 0; k < i; k++) memory[i * padded + k] *= -scale;
    memory[i * padded + i] = scale;
  }
  for (let left = 0; left < n; left += LANES) {
    const x = atInverse + left * padded;
    for (let top = left - (left % PANEL); top < n; top += PANEL) {
      for (let from = left; from < top; from += DEPTH)
        using.accumulate(top * padded + from, padded, 1, x + from * LANES, x + top * LANES, PANEL, Math.min(DEPTH, top - from));
      for (let i = Math.max(left, top); i < Math.min(n, top + PANEL); i++) {
        for (let k = Math.max(left, top); k < i; k++) {
          const times = memory[i * padded + k];
          for (let lane = 0; lane < LANES; lane++) memory[x + i * LANES + lane] += times * memory[x + k * LANES + lane];
        }
        if (i < left + LANES) memory[x + i * LANES + i - left] = memory[i * padded + i];
      }
    }
  }
}
