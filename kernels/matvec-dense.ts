import shader from "../wgsl/matvec-dense.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { checkDense, type DenseMatrix } from "./dense-matrix";
import { matvecMapping } from "./matvec-mapping";
import { linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-dense",
  shader,
  bindings: { weights: "read", x: "read", state: "read", y: "write" },
});

/** WebGPU's default limit on workgroups in one dimension. */
const MOST_WORKGROUPS = 65535;

export interface MatvecDenseArgs {
  matrix: DenseMatrix;
  /** f32 [cols], padding zero. */
  x: GPUBuffer;
  /** Step state: nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [rows]. */
  y: GPUBuffer;
  /** RMSNorm of x in front; its weights are folded into W. */
  norm?: { eps: number; cols: number };
  /** Add to what y holds: the residual stream. */
  add?: boolean;
}

/** y = W x (norm in front, residual behind): a dense model's linears in decode, and its head. Equation in wgsl/matvec-dense.wgsl. */
export function matvecDense(recorder: Recorder, { matrix, x, state, y, norm, add = false }: MatvecDenseArgs): void {
  const { weights, rows, cols } = matrix;
  checkDense(kernel.name, matrix);
  // A lane's step is 4 columns here, not 32.
  const mapping = matvecMapping(recorder.tier, 8 * cols);
  const workgroupRows = 4 * mapping.SLOTS;
  const mostRows = MOST_WORKGROUPS * workgroupRows;
  requireShape(kernel.name, rows <= mostRows, `rows must be at most ${mostRows} but are ${rows}.`);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: { ROWS: rows, COLS: cols, ADD: Number(add), EPS: norm?.eps ?? -1, NORM_COLS: norm?.cols ?? cols, ...mapping },
    buffers: { weights, x, state, y },
    workgroups: [Math.ceil(rows / workgroupRows)],
    cost: linearCost(matrix, 1, rows),
  });
}
