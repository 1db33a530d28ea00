import shader from "../wgsl/matmul-swiglu-palette-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { int8RowWords } from "./int8-row";
import { MATMUL_TILE } from "./matmul-palette";
import type { MatmulPaletteInt8Args } from "./matmul-palette-int8";
import { checkWeights, linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-swiglu-palette-int8",
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

/** `weights` are gate and up stacked by rows, gate first; y is [tokens, yStride] with half as many rows. */
export type MatmulSwigluPaletteInt8Args = Omit<MatmulPaletteInt8Args, "scaled" | "add">;

/** y = silu(gate) * up in integers for a prefill step. Equation in wgsl/matmul-swiglu-palette-int8.wgsl. */
export function matmulSwigluPaletteInt8(recorder: Recorder, args: MatmulSwigluPaletteInt8Args): void {
  const { weights, x8, y, yStride, state, scale, tokens } = args;
  const { plane0, plane1, plane2, blocks, cols } = weights;
  checkWeights(kernel.name, weights, 2);
  const rows = weights.rows / 2;
  const tokenTiles = Math.ceil(tokens / MATMUL_TILE);
  kernel.record(recorder, {
    overrides: {},
    shape: [rows, cols, int8RowWords(cols), yStride, 1, 0],
    buffers: { plane0, plane1, plane2, blocks, x8, state, scale, y },
    workgroups: [Math.ceil(rows / (MATMUL_TILE / 2)), tokenTiles],
    cost: {
      ...linearCost(weights, tokens, rows),
      bytesRead: weights.bytes * tokenTiles + 4 * tokens * int8RowWords(cols),
    },
  });
}
