import shader from "../wgsl/matmul-palette.wgsl";
import { defineKernel, type KernelTier, type Recorder } from "./define-kernel";
import { checkKept, checkWeights, linearCost, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-palette",
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

/** Tokens and rows of one workgroup's tile. */
export const MATMUL_TILE = 64;

/** Columns staged at once: as many as fit in workgroup memory beside the palettes (both operands, f32 or f16). */
export function matmulStep(tier: KernelTier): number {
  const tileBytes = 2 * 32 * MATMUL_TILE * (tier.f16 ? 2 : 4);
  return tileBytes + 4 * MATMUL_TILE <= tier.workgroupBytes ? 32 : 16;
}

export interface MatmulPaletteArgs {
  weights: PaletteWeights;
  /** f32 [tokens, xStride], padding zero. */
  x: GPUBuffer;
  xStride: number;
  /** f32 [tokens, yStride]. */
  y: GPUBuffer;
  yStride: number;
  /** Step state: how many tokens count. */
  state: GPUBuffer;
  /** f32 [tokens], the inverse RMS of each token. */
  scale: GPUBuffer;
  /** Multiply by `scale`: a norm stands in front. */
  scaled?: boolean;
  /** Add to what y holds: the residual stream. */
  add?: boolean;
  /** Most tokens of a step. */
  tokens: number;
}

/** y = W x for a prefill step. Equation in wgsl/matmul-palette.wgsl. */
export function matmulPalette(recorder: Recorder, args: MatmulPaletteArgs): void {
  const { weights, x, y, state, scale, tokens, scaled = false, add = false } = args;
  const { plane0, plane1, plane2, blocks, rows, cols } = weights;
  checkWeights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, scaled);
  const tokenTiles = Math.ceil(tokens / MATMUL_TILE);
  kernel.record(recorder, {
    overrides: { K_STEP: matmulStep(recorder.tier) },
    shape: [rows, cols, args.xStride, args.yStride, Number(scaled), Number(add), kept],
    buffers: { plane0, plane1, plane2, blocks, x, state, scale, y },
    workgroups: [Math.ceil(rows / MATMUL_TILE), tokenTiles],
    cost: linearCost(weights, tokens, rows, tokenTiles),
  });
}
