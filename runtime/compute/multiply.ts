/**
 * Products of the compiler: f32, each sum in one fixed order and rounded at every step, so that neither blocks nor threads nor the
 * machine show in the result. B is laid out in panels of 8 columns, and blocks are chosen for caches of 32 KB and 1 MB.
 */
import { type Kernel, kernelFor, LANES, ROWS } from "./kernel";

/** Of k, for which one panel of B stays in the nearest cache. */
const DEPTH = 512;
/** Floats of A and of B that are laid out at a time, where one row or panel is not longer. */
const A_FLOATS = 1 << 17;
const B_FLOATS = 1 << 20;
const MAX_COLUMNS = 512;
const MAX_ROWS = 256;

/** Element (i, j) stands at i * down + j * across. */
interface Strided {
  data: Float32Array;
  down: number;
  across: number;
}

/**
 * y[t, r] = sum_c weight[r, c] x[t, c], c rising. About 18 billion multiply-adds a second on one core
 * (an EPYC of 2024, 64 tokens or more), where the reference model's product in f64 does 2.6, and 1.3 without WebAssembly. Tokens are worked on by eights, so a single one wastes the rest.
 * @param weight [rows, cols]
 * @param x [T, cols]
 * @returns [T, rows]
 */
export function multiply(weight: Float32Array, x: Float32Array, T: number, using: Kernel = kernelFor("multiply")): Float32Array {
  const cols = x.length / T;
  const rows = weight.length / cols;
  const y = new Float32Array(T * rows);
  product(using, weight, { data: x, down: 1, across: cols }, { data: y, down: 1, across: rows }, [rows, T, cols]);
  return y;
}

/**
 * dx[t, c] = sum_r weight[r, c] g[t, r], r rising: what a linear passes back.
 * @param weight [rows, cols]
 * @param g [T, rows]
 * @returns [T, cols]
 */
export function multiplyTransposed(
  weight: Float32Array,
  g: Float32Array,
  T: number,
  using: Kernel = kernelFor("multiply"),
): Float32Array {
  const rows = g.length / T;
  const cols = weight.length / rows;
  const dx = new Float32Array(T * cols);
  product(using, g, { data: weight, down: cols, across: 1 }, { data: dx, down: cols, across: 1 }, [T, cols, rows]);
  return dx;
}

/** C = A B. @param a [M, K], row by row. */
function product(
  using: Kernel,
  a: Float32Array,
  b: Strided,
  c: Strided,
  [M, N, K]: readonly [M: number, N: number, K: number],
): void {
  const columns = Math.max(LANES, Math.min(MAX_COLUMNS, up(N, LANES), down(B_FLOATS / K, LANES)));
  const rows = Math.max(ROWS, Math.min(MAX_ROWS, up(M, ROWS), down(A_FLOATS / K, ROWS)));
  const atA = columns * K;
  const atC = atA + rows * K;
  const memory = using.reserve(atC + rows * columns);
  for (let left = 0; left < N; left += columns) {
    const n = Math.min(columns, N - left);
    for (let lane = 0; lane < n; lane += LANES) pack(memory, lane * K, b, left + lane, Math.min(LANES, n - lane), K);
    for (let top = 0; top < M; top += rows) {
      const m = Math.min(rows, M - top);
      memory.set(a.subarray(top * K, (top + m) * K), atA);
      memory.fill(0, atA + m * K, atA + up(m, ROWS) * K);
      memory.fill(0, atC, atC + rows * up(n, LANES));
      for (let from = 0; from < K; from += DEPTH) {
        const k = Math.min(DEPTH, K - from);
        for (let lane = 0; lane < n; lane += LANES)
          using.accumulate(atA + from, K, 1, lane * K + from * LANES, atC + lane * rows, m, k);
      }
      for (let lane = 0; lane < n; lane++) {
        const panel = atC + (lane - (lane % LANES)) * rows + (lane % LANES);
        let to = top * c.down + (left + lane) * c.across;
        for (let i = 0; i < m; i++, to += c.down) c.data[to] = memory[panel + i * LANES];
      }
    }
  }
}

/** Columns left ..< left + n of B as a panel [k][8], zeros in the lanes that are left over. */
function pack(memory: Float32Array, to: number, { data, down, across }: Strided, left: number, n: number, k: number): void {
  if (n < LANES) memory.fill(0, to, to + k * LANES);
  const from = left * across;
  // Along what lies together in memory.
  if (across === 1) {
    for (let i = 0; i < k; i++) for (let lane = 0; lane < n; lane++) memory[to + i * LANES + lane] = data[from + i * down + lane];
  } else {
    for (let lane = 0; lane < n; lane++)
      for (let i = 0; i < k; i++) memory[to + i * LANES + lane] = data[from + lane * across + i * down];
  }
}

/** How many panels `addMoments` has for `cols` columns. */
export const momentPanels = (cols: number): number => Math.ceil(cols / LANES);

/**
 * moments[i, j] += sum_t x[t, i] x[t, j], t rising: tokens may come in any number of calls.
 * @param moments [cols, cols], symmetric
 * @param x [T, cols]
 * @param panels Those whose rows grow, up to the diagonal, and what mirrors them; default all.
 */
export function addMoments(
  moments: Float32Array,
  x: Float32Array,
  T: number,
  [from, to]: readonly [from: number, to: number] = [0, momentPanels(x.length / T)],
  using: Kernel = kernelFor("multiply"),
): void {
  const cols = x.length / T;
  for (let first = 0; first < T; first += DEPTH) {
    const k = Math.min(DEPTH, T - first);
    const size = k * LANES;
    const tile = to * size;
    const memory = using.reserve(tile + LANES * LANES);
    const rows = { data: x.subarray(first * cols, (first + k) * cols), down: cols, across: 1 };
    for (let p = 0; p < to; p++) pack(memory, p * size, rows, p * LANES, Math.min(LANES, cols - p * LANES), k);
    for (let p = from; p < to; p++) {
      for (let q = 0; q <= p; q++) {
        const [top, left] = [p * LANES, q * LANES];
        const [m, n] = [Math.min(LANES, cols - top), Math.min(LANES, cols - left)];
        for (let i = 0; i < m; i++)
          for (let j = 0; j < n; j++) memory[tile + i * LANES + j] = moments[(top + i) * cols + left + j];
        using.accumulate(p * size, 1, LANES, q * size, tile, LANES, k);
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            const sum = memory[tile + i * LANES + j];
            moments[(top + i) * cols + left + j] = sum;
            moments[(left + j) * cols + top + i] = sum;
          }
        }
      }
    }
  }
}

const up = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;
const down = (value: number, multiple: number): number => Math.floor(value / multiple) * multiple;
