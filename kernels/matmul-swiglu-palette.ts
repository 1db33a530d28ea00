import shader from "../wgsl/matmul-swiglu-palette.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { MATMUL_TILE, type MatmulPaletteArgs, matmulStep } from "./matmul-palette";
import { checkWeights, linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-swiglu-palette",
  shader,
  bindings: {
    plane0: "read",
    plane1: "read",
    plane2: "read",
    blocks: "read",
    x: "read",
    state: "read",
    scale: "read",
    y: "write",
  },
  shape: true,
});

/** `weights` are gate and up stacked by rows, gate first; y is [tokens, yStride] with half as many rows. */
export type MatmulSwigluPaletteArgs = Omit<MatmulPaletteArgs, "scaled" | "add">;

/** y = silu(gate) * up for a prefill step. Equation in wgsl/matmul-swiglu-palette.wgsl. */
export function matmulSwigluPalette(recorder: Recorder, args: MatmulSwigluPaletteArgs): void {
  const { weights, x, y, state, scale, tokens } = args;
  const { plane0, plane1, plane2, blocks, cols } = weights;
  checkWeights(kernel.name, weights, 2);
  const rows = weights.rows / 2;
  const tokenTiles = Math.ceil(tokens / MATMUL_TILE);
  kernel.record(recorder, {
    overrides: { K_STEP: matmulStep(recorder.tier) },
    shape: [rows, cols, args.xStride, args.yStride, 1, 0],
    buffers: { plane0, plane1, plane2, blocks, x, state, scale, y },
    workgroups: [Math.ceil(rows / (MATMUL_TILE / 2)), tokenTiles],
    cost: linearCost(weights, tokens, rows, tokenTiles),
  });
}
