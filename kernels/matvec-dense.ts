import shader from "../wgsl/matvec-dense.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { checkDense, type DenseMatrix } from "./dense-matrix";
import { type FewTokens, fewTokens } from "./few-tokens";
import { matvecMapping } from "./matvec-mapping";
import { linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-dense",
  shader,
  bindings: { weights: "read", x: "read", state: "read", y: "write" },
});

/** WebGPU's default limit on workgroups in one dimension. */
const MOST_WORKGROUPS = 65535;

export interface MatvecDenseArgs extends FewTokens {
  matrix: DenseMatrix;
  /** f32 [tokens, xStride], padding zero. */
  x: GPUBuffer;
  /** Step state: how many tokens count; nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, yStride]. */
  y: GPUBuffer;
  /** RMSNorm of x in front; its weights are folded into W. */
  norm?: { eps: number; cols: number };
  /** Add to what y holds: the residual stream. */
  add?: boolean;
}

/** y = W x (norm in front, residual behind): a dense model's linears for one token, or a few, and its head. Equation in wgsl/matvec-dense.wgsl. */
export function matvecDense(recorder: Recorder, { matrix, x, state, y, norm, add = false, ...few }: MatvecDenseArgs): void {
  const { weights, rows, cols } = matrix;
  checkDense(kernel.name, matrix);
  // A lane's step is 4 columns here, not 32.
  const mapping = matvecMapping(recorder.tier, 8 * cols);
  const workgroupRows = 4 * mapping.SLOTS;
  const mostRows = MOST_WORKGROUPS * workgroupRows;
  requireShape(kernel.name, rows <= mostRows, `rows must be at most ${mostRows} but are ${rows}.`);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: {
      ROWS: rows,
      COLS: cols,
      ADD: Number(add),
      EPS: norm?.eps ?? -1,
      NORM_COLS: norm?.cols ?? cols,
      ...fewTokens(kernel.name, cols, rows, few),
      ...mapping,
    },
    buffers: { weights, x, state, y },
    workgroups: [Math.ceil(rows / workgroupRows)],
    cost: linearCost(matrix, few.tokens ?? 1, rows),
  });
}
