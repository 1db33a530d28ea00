import shader from "../wgsl/matmul-dense.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { checkDense, type DenseMatrix } from "./dense-matrix";
import { MATMUL_TILE, type MatmulPaletteArgs, matmulStep } from "./matmul-palette";
import { linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-dense",
  // No f16 tiles: they would round the weights, and a model that is not palettized is run for what it says exactly.
  shader: { "": shader[""] },
  bindings: { weights: "read", x: "read", state: "read", scale: "read", y: "write" },
  shape: true,
});

/** As for matmul-palette. */
export interface MatmulDenseArgs extends Omit<MatmulPaletteArgs, "weights"> {
  matrix: DenseMatrix;
}

/** y = W x for a prefill step. Equation in wgsl/matmul-dense.wgsl. */
export function matmulDense(recorder: Recorder, args: MatmulDenseArgs): void {
  const { matrix, x, y, state, scale, tokens, scaled = false, add = false } = args;
  const { weights, rows, cols } = matrix;
  checkDense(kernel.name, matrix, 64);
  const tokenTiles = Math.ceil(tokens / MATMUL_TILE);
  kernel.record(recorder, {
    overrides: { K_STEP: matmulStep({ ...recorder.tier, f16: false }) },
    shape: [rows, cols, args.xStride, args.yStride, Number(scaled), Number(add)],
    buffers: { weights, x, state, scale, y },
    workgroups: [Math.ceil(rows / MATMUL_TILE), tokenTiles],
    cost: linearCost(matrix, tokens, rows, tokenTiles),
  });
}
