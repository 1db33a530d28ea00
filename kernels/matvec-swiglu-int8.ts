import shader from "../wgsl/matvec-swiglu-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { int8RowWords } from "./int8-row";
import { checkInt8Weights, type Int8Weights, int8LinearCost } from "./int8-weights";

const kernel = defineKernel({
  name: "matvec-swiglu-int8",
  shader,
  bindings: { codes: "read", scales: "read", x8: "read", state: "read", y8: "write" },
});

export interface MatvecSwigluInt8Args {
  /** gate and up stacked by rows, gate first. */
  weights: Int8Weights;
  /** int8 rows [tokens, cols]. */
  x8: GPUBuffer;
  /** Step state: nothing is computed once it says done. */
  state: GPUBuffer;
  /** int8 rows [tokens, y8Cols]. */
  y8: GPUBuffer;
  /** rows / 2, padded to a multiple of 64. */
  y8Cols: number;
  norm: { eps: number; cols: number };
  tokens: number;
}

/** y = silu(gate) * up of a few tokens in integers. Equation in wgsl/matvec-swiglu-int8.wgsl. */
export function matvecSwigluInt8(
  recorder: Recorder,
  { weights, x8, state, y8, y8Cols, norm, tokens }: MatvecSwigluInt8Args,
): void {
  const { codes, scales, rows, cols } = weights;
  checkInt8Weights(kernel.name, weights, 2);
  kernel.record(recorder, {
    overrides: { ROWS: rows / 2, COLS: cols, ROW8_COLS: y8Cols, EPS: norm.eps, NORM_COLS: norm.cols },
    buffers: { codes, scales, x8, state, y8 },
    workgroups: [rows / 32, tokens],
    cost: int8LinearCost(weights, tokens, 4 * tokens * int8RowWords(y8Cols)),
  });
}
