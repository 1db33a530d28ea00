/** Products that training needs beside `multiply` and `multiplyTransposed`. Matrices are row-major and f32. */
import { multiplyTransposed } from "../compute/multiply";

const TILE_ROWS = 16;

/** matrix [rows, cols] to [cols, rows]; in tiles, for a stride of a whole row would fetch a cache line for each value. */
export function transpose(matrix: Float32Array, rows: number, cols: number): Float32Array {
  const out = new Float32Array(rows * cols);
  for (let top = 0; top < rows; top += TILE_ROWS) {
    const bottom = Math.min(rows, top + TILE_ROWS);
    for (let c = 0; c < cols; c++) for (let r = top; r < bottom; r++) out[c * rows + r] = matrix[r * cols + c];
  }
  return out;
}

/** dW[r, c] = sum_t dy[t, r] x[t, c], the gradient of a weight [rows, cols]. dy [T, rows], x [T, cols]. */
export function outerSum(dy: Float32Array, x: Float32Array, T: number): Float32Array {
  const rows = dy.length / T;
  return multiplyTransposed(x, transpose(dy, T, rows), rows);
}

/** x += y. */
export function addTo(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}
