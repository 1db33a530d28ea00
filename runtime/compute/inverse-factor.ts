/** Error feedback's factor, in f64: blocked, so that nearly all of it is products of matrices, each sum in the order of the definition. */
import { doubleKernel, type Kernel, DOUBLE_LANES as LANES } from "./kernel";

/** Rows or columns that are worked on together; so many rows of L stay in a cache while all that needs them is done. */
const BLOCK = 64;
/** Of k, for which a panel of four columns stays in the nearest cache. */
const DEPTH = 512;

/** Everything below has n rows and columns, reversed; `padded` is n up to the next whole block. */
interface Factoring {
  using: Kernel<Float64Array>;
  memory: Float64Array;
  n: number;
  padded: number;
  /** Panels of 4 columns, [padded][4] each: the inverse, and one block of columns of the moments less the products so far. */
  atInverse: number;
  atWork: number;
  /** One block of rows of -L, transposed: panels [DEPTH][4]. */
  atB: number;
}

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
  const padded = Math.ceil(n / BLOCK) * BLOCK;
  const atInverse = padded * padded;
  const atWork = 2 * atInverse;
  const atB = atWork + padded * BLOCK;
  const at: Factoring = { using, memory: using.reserve(atB + DEPTH * BLOCK), n, padded, atInverse, atWork, atB };
  at.memory.fill(0, 0, atWork);
  factorize(moments, damping, at);
  invert(at);
  return reversed(at);
}

/** L with L L^T = the moments, damped and reversed: L[i, j] = (H[i, j] - sum_k L[i, k] L[j, k]) / L[j, j], k rising. */
function factorize(moments: Float32Array, damping: number, at: Factoring): void {
  const { using, memory, n, padded, atWork } = at;
  let trace = 0;
  for (let i = 0; i < n; i++) trace += moments[i * n + i];
  const ridge = trace > 0 ? (damping * trace) / n : 1;
  const last = n * n - 1;
  for (let block = 0; block < n; block += BLOCK) {
    const end = Math.min(n, block + BLOCK);
    for (let i = block; i < n; i++) {
      for (let j = block; j < Math.min(end, i + 1); j++) {
        const panel = atWork + (j - block - ((j - block) % LANES)) * padded;
        memory[panel + i * LANES + ((j - block) % LANES)] = moments[last - i * n - j] + (i === j ? ridge : 0);
      }
    }
    for (let from = 0; from < block; from += DEPTH) {
      const k = Math.min(DEPTH, block - from);
      for (let lane = 0; lane < end - block; lane += LANES) packNegative(at, block + lane, from, k, lane * DEPTH);
      for (let top = block; top < n; top += BLOCK) {
        const m = Math.min(BLOCK, n - top);
        for (let lane = 0; lane < end - block; lane += LANES) {
          const c = atWork + lane * padded + top * LANES;
          using.accumulate(top * padded + from, padded, 1, at.atB + lane * DEPTH, c, m, k);
        }
      }
    }
    for (let left = block; left < end; left += LANES) {
      const work = atWork + (left - block) * padded;
      if (left > block) {
        packNegative(at, left, block, left - block, 0);
        using.accumulate(left * padded + block, padded, 1, at.atB, work + left * LANES, n - left, left - block);
      }
      for (let j = left; j < Math.min(n, left + LANES); j++) {
        for (let i = j; i < n; i++) {
          let sum = memory[work + i * LANES + j - left];
          for (let k = left; k < j; k++) sum -= memory[i * padded + k] * memory[j * padded + k];
          memory[i * padded + j] = i === j ? Math.sqrt(sum) : sum / memory[j * padded + j];
        }
      }
    }
  }
}

/** -L of the 4 rows from `row` on and k columns from `from` on, transposed. */
function packNegative({ memory, padded, atB }: Factoring, row: number, from: number, k: number, to: number): void {
  for (let lane = 0; lane < LANES; lane++)
    for (let i = 0; i < k; i++) memory[atB + to + i * LANES + lane] = -memory[(row + lane) * padded + from + i];
}

/** X = L^-1: X[i, i] = 1 / L[i, i], X[i, j] = sum_k (-L[i, k] / L[i, i]) X[k, j], k rising from j. L is overwritten with its terms. */
function invert({ using, memory, n, padded, atInverse }: Factoring): void {
  for (let i = 0; i < n; i++) {
    const scale = 1 / memory[i * padded + i];
    for (let k = 0; k < i; k++) memory[i * padded + k] *= -scale;
    memory[i * padded + i] = scale;
  }
  for (let block = 0; block < n; block += BLOCK) {
    const end = Math.min(n, block + BLOCK);
    for (let left = 0; left < end; left += LANES) {
      const x = atInverse + left * padded;
      for (let from = left; from < block; from += DEPTH) {
        const k = Math.min(DEPTH, block - from);
        using.accumulate(block * padded + from, padded, 1, x + from * LANES, x + block * LANES, end - block, k);
      }
      for (let top = Math.max(left, block); top < end; top += LANES) {
        const from = Math.max(left, block);
        if (top > from) {
          using.accumulate(top * padded + from, padded, 1, x + from * LANES, x + top * LANES, LANES, top - from);
        }
        for (let i = top; i < Math.min(n, top + LANES); i++) {
          for (let k = top; k < i; k++) {
            const times = memory[i * padded + k];
            for (let lane = 0; lane < LANES; lane++) memory[x + i * LANES + lane] += times * memory[x + k * LANES + lane];
          }
          if (top === left) memory[x + i * LANES + i - left] = memory[i * padded + i];
        }
      }
    }
  }
}

/** The inverse back in the moments' order, [n, n], in f32. */
function reversed({ memory, n, padded, atInverse }: Factoring): Float32Array {
  const factor = new Float32Array(n * n);
  const last = n * n - 1;
  // By runs of rows, which share the cache lines of both.
  for (let top = 0; top < n; top += LANES) {
    const bottom = Math.min(n, top + LANES);
    for (let left = 0; left < bottom; left += LANES) {
      const panel = atInverse + left * padded;
      for (let i = top; i < bottom; i++)
        for (let j = left; j <= Math.min(i, left + LANES - 1); j++)
          factor[last - i * n - j] = memory[panel + i * LANES + j - left];
    }
  }
  return factor;
}
