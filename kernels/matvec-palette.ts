import shader from "../wgsl/matvec-palette.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { type FewTokens, fewTokens } from "./few-tokens";
import { matvecMapping } from "./matvec-mapping";
import { checkKept, checkWeights, linearCost, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-palette",
  shader,
  bindings: { plane0: "read", plane1: "read", plane2: "read", blocks: "read", x: "read", state: "read", y: "write" },
});

export interface MatvecPaletteArgs extends FewTokens {
  weights: PaletteWeights;
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

/** y = W x (norm in front, residual behind): q,k,v; o_proj; down_proj for one token, or a few. Equation in wgsl/matvec-palette.wgsl. */
export function matvecPalette(recorder: Recorder, { weights, x, state, y, norm, add = false, ...few }: MatvecPaletteArgs): void {
  const { plane0, plane1, plane2, blocks, rows, cols } = weights;
  checkWeights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, norm !== undefined);
  const mapping = matvecMapping(recorder.tier, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: {
      ROWS: rows,
      KEPT: kept,
      COLS: cols,
      ADD: Number(add),
      EPS: norm?.eps ?? -1,
      NORM_COLS: norm?.cols ?? cols,
      F32_PAIRS: Number(recorder.tier.f32Pairs),
      ...fewTokens(kernel.name, cols, rows, few),
      ...mapping,
    },
    buffers: { plane0, plane1, plane2, blocks, x, state, y },
    workgroups: [Math.ceil(rows / (4 * mapping.SLOTS))],
    cost: linearCost(weights, few.tokens ?? 1, rows),
  });
}
