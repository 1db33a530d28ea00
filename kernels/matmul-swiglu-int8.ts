import shader from "../wgsl/matmul-swiglu-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { checkInt8Weights } from "./int8-weights";
import { INT8_QUADS, INT8_THREADS, INT8_TOKENS, type MatmulInt8Args } from "./matmul-int8";
import { linearCost } from "./palette-weights";

const kernel = defineKernel({
  name: "matmul-swiglu-int8",
  shader,
  bindings: { codes: "read", scales: "read", x: "read", state: "read", scale: "read", y: "write" },
  shape: true,
});

/** `weights` are gate and up stacked by rows, gate first; y is [tokens, yStride] with half as many rows. */
export type MatmulSwigluInt8Args = Omit<MatmulInt8Args, "scaled" | "add">;

/** y = silu(gate) * up for a prefill step on a software adapter. Equation in wgsl/matmul-swiglu-int8.wgsl. */
export function matmulSwigluInt8(recorder: Recorder, args: MatmulSwigluInt8Args): void {
  const { weights, x, y, state, scale, tokens } = args;
  const { codes, scales, cols } = weights;
  checkInt8Weights(kernel.name, weights, 2);
  const rows = weights.rows / 2;
  const groups = Math.ceil(tokens / INT8_TOKENS);
  kernel.record(recorder, {
    lanes: INT8_THREADS,
    overrides: {},
    shape: [rows, cols, args.xStride, args.yStride, 1, 0],
    buffers: { codes, scales, x, state, scale, y },
    workgroups: [Math.ceil(rows / 4 / (INT8_QUADS / 2)), groups],
    cost: linearCost(weights, tokens, rows, groups),
  });
}
