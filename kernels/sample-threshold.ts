import shader from "../wgsl/sample-threshold.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "sample-threshold",
  shader,
  bindings: { logits: "read", sampling: "read", state: "write" },
});

export interface SampleThresholdArgs {
  /** f32 [V]. */
  logits: GPUBuffer;
  V: number;
  /** The struct of wgsl/lib/sampling.wgsl. */
  sampling: GPUBuffer;
  state: GPUBuffer;
}

/** The lowest logit that top-k, top-p and min-p leave. Method in wgsl/sample-threshold.wgsl. */
export function sampleThreshold(recorder: Recorder, { logits, V, sampling, state }: SampleThresholdArgs): void {
  const passes = 2 * 32;
  kernel.record(recorder, {
    overrides: { VOCABULARY: V },
    buffers: { logits, sampling, state },
    workgroups: [1],
    cost: { bytesRead: passes * 4 * V, bytesWritten: 4, multiplyAdds: passes * V },
  });
}
