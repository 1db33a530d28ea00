import shader from "../wgsl/unrotate-norm.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { type RotationBuffer, rotationOverrides } from "./embed-rotate";

const kernel = defineKernel({
  name: "unrotate-norm",
  shader,
  bindings: { x: "read", rotation: "read", norm_weight: "read", state: "read", y: "write" },
});

export interface UnrotateNormArgs {
  /** f32 [tokens, stride]; the rows from the step state's `row` on. */
  x: GPUBuffer;
  stride: number;
  D: number;
  rotation: RotationBuffer;
  /** f32 [D]. */
  normWeight: GPUBuffer;
  eps: number;
  state: GPUBuffer;
  /** f32 [rows, D]. */
  y: GPUBuffer;
  /** The most rows of a step that are wanted. Default 1. */
  rows?: number;
}

/** y = norm_weight * (x R^T) / rms(x). Equation in wgsl/unrotate-norm.wgsl. */
export function unrotateNorm(recorder: Recorder, { rotation, normWeight, state, rows = 1, ...args }: UnrotateNormArgs): void {
  const { x, stride, D, eps, y } = args;
  kernel.record(recorder, {
    overrides: { ...rotationOverrides(recorder.tier, rotation, D), STRIDE: stride, EPS: eps },
    buffers: { x, rotation: rotation.buffer, norm_weight: normWeight, state, y },
    workgroups: [rows],
    cost: {
      bytesRead: 4 * D + rotation.buffer.size + 4 * rows * D,
      bytesWritten: 4 * rows * D,
      multiplyAdds: rows * D * (rotation.dct + Math.log2(rotation.hadamard) + 2),
    },
  });
}
