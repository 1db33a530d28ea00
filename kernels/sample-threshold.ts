import shader from "../wgsl/sample-threshold.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "sample-threshold",
  shader,
  bindings: { logits: "read", sampling: "read", state: "read", thresholds: "write" },
});

export interface SampleThresholdArgs {
  /** f32 [rows, V padded to 4]. */
  logits: GPUBuffer;
  V: number;
  /** The struct of wgsl/lib/sampling.wgsl. */
  sampling: GPUBuffer;
  state: GPUBuffer;
  /** f32 [rows]. */
  thresholds: GPUBuffer;
  /** The most rows of a step that are sampled from. Default 1. */
  rows?: number;
}

/** The lowest logit that top-k, top-p and min-p leave. Method in wgsl/sample-threshold.wgsl. */
export function sampleThreshold(recorder: Recorder, { V, rows = 1, ...buffers }: SampleThresholdArgs): void {
  const passes = 1 + 2 * 8;
  kernel.record(recorder, {
    overrides: { VOCABULARY: V },
    buffers,
    workgroups: [rows],
    cost: { bytesRead: passes * 4 * rows * V, bytesWritten: 4 * rows, multiplyAdds: passes * rows * V },
  });
}
