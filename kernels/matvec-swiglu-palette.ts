import shader from "../wgsl/matvec-swiglu-palette.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { type FewTokens, fewTokens } from "./few-tokens";
import { matvecMapping } from "./matvec-mapping";
import { checkWeights, linearCost, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-swiglu-palette",
  shader,
  bindings: { plane0: "read", plane1: "read", plane2: "read", blocks: "read", x: "read", state: "read", y: "write" },
});

export interface MatvecSwigluPaletteArgs extends FewTokens {
  /** gate and up stacked by rows, gate first. */
  weights: PaletteWeights;
  /** f32 [tokens, xStride], padding zero. */
  x: GPUBuffer;
  /** Step state: how many tokens count; nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, yStride]: half the stacked rows. */
  y: GPUBuffer;
  norm: { eps: number; cols: number };
}

/** y = silu(gate) * up for one token, or a few. Equation in wgsl/matvec-swiglu-palette.wgsl. */
export function matvecSwigluPalette(recorder: Recorder, { weights, x, state, y, norm, ...few }: MatvecSwigluPaletteArgs): void {
  const { plane0, plane1, plane2, blocks, cols } = weights;
  checkWeights(kernel.name, weights, 2);
  const rows = weights.rows / 2;
  const mapping = matvecMapping(recorder.tier, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: {
      ROWS: rows,
      COLS: cols,
      EPS: norm.eps,
      NORM_COLS: norm.cols,
      F32_PAIRS: Number(recorder.tier.f32Pairs),
      ...fewTokens(kernel.name, cols, rows, few),
      ...mapping,
    },
    buffers: { plane0, plane1, plane2, blocks, x, state, y },
    workgroups: [Math.ceil(rows / (4 * mapping.SLOTS))],
    cost: linearCost(weights, few.tokens ?? 1, rows),
  });
}
