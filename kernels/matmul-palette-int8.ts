import shader from "../wgsl/matmul-palette-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { int8RowWords } from "./int8-row";
import { MATMUL_TILE, type MatmulPaletteArgs } from "./matmul-palette";
import { checkKept, checkWeights, linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-palette-int8",
  shader,
  bindings: {
    plane0: "read",
    plane1: "read",
    plane2: "read",
    blocks: "read",
    x8: "read",
    state: "read",
    scale: "read",
    y: "write",
  },
  shape: true,
});

/** As for matmul-palette, but for x. */
export interface MatmulPaletteInt8Args extends Omit<MatmulPaletteArgs, "x" | "xStride"> {
  /** int8 rows [tokens, cols]. */
  x8: GPUBuffer;
}

/** y = W x in integers for a prefill step. Equation in wgsl/matmul-palette-int8.wgsl. */
export function matmulPaletteInt8(recorder: Recorder, args: MatmulPaletteInt8Args): void {
  const { weights, x8, y, yStride, state, scale, tokens, scaled = false, add = false } = args;
  const { plane0, plane1, plane2, blocks, rows, cols } = weights;
  checkWeights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, scaled);
  const tokenTiles = Math.ceil(tokens / MATMUL_TILE);
  kernel.record(recorder, {
    overrides: {},
    shape: [rows, cols, int8RowWords(cols), yStride, Number(scaled), Number(add), kept],
    buffers: { plane0, plane1, plane2, blocks, x8, state, scale, y },
    workgroups: [Math.ceil(rows / MATMUL_TILE), tokenTiles],
    cost: {
      ...linearCost(weights, tokens, rows),
      bytesRead: weights.bytes * tokenTiles + 4 * tokens * int8RowWords(cols),
    },
  });
}
