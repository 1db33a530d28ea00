import shader from "../wgsl/rms-inverse.wgsl";
import { defineKernel, type Recorder, SOFTWARE_THREADS } from "./define-kernel";

const kernel = defineKernel({
  name: "rms-inverse",
  shader,
  bindings: { x: "read", state: "read", scale: "write" },
});

const GPU_THREADS = 64;

export interface RmsInverseArgs {
  /** f32 [tokens, stride], padding zero. */
  x: GPUBuffer;
  stride: number;
  /** Unpadded width. */
  cols: number;
  eps: number;
  state: GPUBuffer;
  /** f32 [tokens]. */
  scale: GPUBuffer;
  tokens: number;
}

/** scale[t] = 1 / rms(x[t]). Equation in wgsl/rms-inverse.wgsl. */
export function rmsInverse(recorder: Recorder, { x, stride, cols, eps, state, scale, tokens }: RmsInverseArgs): void {
  kernel.record(recorder, {
    overrides: { THREADS: recorder.tier.software ? SOFTWARE_THREADS : GPU_THREADS, COLS: stride, NORM_COLS: cols, EPS: eps },
    buffers: { x, state, scale },
    workgroups: [tokens],
    cost: { bytesRead: 4 * tokens * stride, bytesWritten: 4 * tokens, multiplyAdds: tokens * stride },
  });
}
