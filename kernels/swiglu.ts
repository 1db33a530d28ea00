import shader from "../wgsl/swiglu.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";

const kernel = defineKernel({
  name: "swiglu",
  shader,
  bindings: { v: "read", state: "read", y: "write" },
});

/** Rows of a workgroup: 64 threads, a vec4 each. */
const PER_WORKGROUP = 256;

export interface SwigluArgs {
  /** f32 [tokens, 2 rows]: gate, then up. */
  v: GPUBuffer;
  /** Of the result. */
  rows: number;
  /** Step state: how many tokens count; nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, yStride]. */
  y: GPUBuffer;
  yStride: number;
  tokens: number;
}

/** y = silu(gate) * up of the stacked gate and up. Equation in wgsl/swiglu.wgsl. */
export function swiglu(recorder: Recorder, { v, rows, state, y, yStride, tokens }: SwigluArgs): void {
  requireShape(kernel.name, rows > 0 && rows % 4 === 0, `rows must be a multiple of 4 but are ${rows}.`);
  requireShape(kernel.name, yStride % 4 === 0, `yStride must be a multiple of 4 but is ${yStride}.`);
  kernel.record(recorder, {
    overrides: { ROWS: rows, Y_STRIDE: yStride },
    buffers: { v, state, y },
    workgroups: [Math.ceil(rows / PER_WORKGROUP), tokens],
    cost: { bytesRead: 8 * tokens * rows, bytesWritten: 4 * tokens * rows, multiplyAdds: 2 * tokens * rows },
  });
}
