/** Random f32 matrices for kernel tests: as the twins read them and as the GPU holds them. */
import type { DenseMatrix } from "../../kernels/dense-matrix";
import { padTo } from "../../runtime/formats/palettized";
import type { Gpu } from "../../runtime/gpu/device";
import { normals } from "./harness";

/** `weights` [rows, cols]; on the GPU padded with zeros to multiples of `rowMultiple` and `colMultiple`. */
export function denseMatrix(gpu: Gpu, rows: number, cols: number, { seed = 1, rowMultiple = 16, colMultiple = 64 } = {}) {
  const weights = normals(rows * cols, seed);
  const stride = padTo(cols, colMultiple);
  const padded = new Float32Array(padTo(rows, rowMultiple) * stride);
  for (let r = 0; r < rows; r++) padded.set(weights.subarray(r * cols, (r + 1) * cols), r * stride);
  const matrix: DenseMatrix = {
    rows: padTo(rows, rowMultiple),
    cols: stride,
    weights: gpu.upload("weights", padded),
    bytes: padded.byteLength,
  };
  return { weights, matrix };
}
