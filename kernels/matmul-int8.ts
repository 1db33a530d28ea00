import shader from "../wgsl/matmul-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { checkInt8Weights, type Int8Weights } from "./int8-weights";
import type { MatmulPaletteArgs } from "./matmul-palette";
import { checkKept, linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-int8",
  shader,
  bindings: { codes: "read", scales: "read", x: "read", state: "read", scale: "read", y: "write" },
  shape: true,
});

/** Tokens that a thread computes; the last group of a step costs half where it has at most half as many. */
export const INT8_TOKENS = 16;
/** Row quads of a workgroup: 4 threads with 4 each. */
export const INT8_QUADS = 16;
/** The threads of a workgroup: they hand tokens round. */
export const INT8_THREADS = 4;

/** As for matmul-palette. */
export interface MatmulInt8Args extends Omit<MatmulPaletteArgs, "weights"> {
  weights: Int8Weights;
}

/** y = W x for a prefill step on a software adapter. Equation in wgsl/matmul-int8.wgsl. */
export function matmulInt8(recorder: Recorder, args: MatmulInt8Args): void {
  const { weights, x, y, state, scale, tokens, scaled = false, add = false } = args;
  const { codes, scales, rows, cols } = weights;
  checkInt8Weights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, scaled);
  const groups = Math.ceil(tokens / INT8_TOKENS);
  kernel.record(recorder, {
    lanes: INT8_THREADS,
    overrides: {},
    shape: [rows, cols, args.xStride, args.yStride, Number(scaled), Number(add), kept],
    buffers: { codes, scales, x, state, scale, y },
    workgroups: [Math.ceil(rows / 4 / INT8_QUADS), groups],
    cost: linearCost(weights, tokens, rows, groups),
  });
}
