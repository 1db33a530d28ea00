import shader from "../wgsl/matvec-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { int8RowWords } from "./int8-row";
import { checkInt8Weights, type Int8Weights, int8LinearCost } from "./int8-weights";
import { checkKept } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-int8",
  shader,
  bindings: { codes: "read", scales: "read", x8: "read", state: "read", y: "write", y8: "write" },
});

export interface MatvecInt8Args {
  weights: Int8Weights;
  /** int8 rows [tokens, cols]. */
  x8: GPUBuffer;
  /** Step state: nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, yStride]. */
  y: GPUBuffer;
  yStride: number;
  /** int8 rows [tokens, yStride] of y, for the next linear; written where `int8` says so. */
  y8: GPUBuffer;
  int8?: boolean;
  /** RMSNorm of x in front; its weights are folded into W. */
  norm?: { eps: number; cols: number };
  /** Add to what y holds: the residual stream. */
  add?: boolean;
  tokens: number;
}

/** y = W x of a few tokens in integers (norm in front, residual behind). Equation in wgsl/matvec-int8.wgsl. */
export function matvecInt8(
  recorder: Recorder,
  { weights, x8, state, y, yStride, y8, int8 = false, norm, add = false, tokens }: MatvecInt8Args,
): void {
  const { codes, scales, rows, cols } = weights;
  checkInt8Weights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, norm !== undefined);
  kernel.record(recorder, {
    overrides: {
      COLS: cols,
      KEPT: kept,
      KEPT_AT: (rows * cols) / 4,
      Y_STRIDE: yStride,
      ADD: Number(add),
      INT8: Number(int8),
      ROW8_COLS: yStride,
      EPS: norm?.eps ?? -1,
      NORM_COLS: norm?.cols ?? cols,
    },
    buffers: { codes, scales, x8, state, y, y8 },
    workgroups: [rows / 16, tokens],
    cost: int8LinearCost(weights, tokens, 4 * tokens * (rows + (int8 ? int8RowWords(rows) : 0))),
  });
}
