import shader from "../wgsl/unrotate-norm.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import type { RotationBuffer } from "./embed-rotate";

const kernel = defineKernel({
  name: "unrotate-norm",
  shader,
  bindings: { x: "read", rotation: "read", norm_weight: "read", state: "read", y: "write" },
});

export interface UnrotateNormArgs {
  /** f32 [tokens, stride]; the row is the step state's. */
  x: GPUBuffer;
  stride: number;
  D: number;
  rotation: RotationBuffer;
  /** f32 [D]. */
  normWeight: GPUBuffer;
  eps: number;
  state: GPUBuffer;
  /** f32 [D]. */
  y: GPUBuffer;
}

/** y = norm_weight * (x R^T) / rms(x). Equation in wgsl/unrotate-norm.wgsl. */
export function unrotateNorm(recorder: Recorder, { x, stride, D, rotation, normWeight, eps, state, y }: UnrotateNormArgs): void {
  kernel.record(recorder, {
    overrides: { D, DCT: rotation.dct, HADAMARD: rotation.hadamard, STRIDE: stride, EPS: eps },
    buffers: { x, rotation: rotation.buffer, norm_weight: normWeight, state, y },
    workgroups: [1],
    cost: {
      bytesRead: 8 * D + rotation.buffer.size,
      bytesWritten: 4 * D,
      multiplyAdds: D * (rotation.dct + Math.log2(rotation.hadamard) + 2),
    },
  });
}
