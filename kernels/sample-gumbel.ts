import shader from "../wgsl/sample-gumbel.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "sample-gumbel",
  shader,
  bindings: { logits: "read", sampling: "read", state: "read", thresholds: "read", best: "write" },
});

/** Tokens that one workgroup compares. */
const PER_WORKGROUP = 1024;

/** How many candidates sample-gumbel leaves for sample-pick. */
export const candidateCount = (V: number): number => Math.ceil(V / PER_WORKGROUP);

export interface SampleGumbelArgs {
  /** f32 [rows, V padded to 4]. */
  logits: GPUBuffer;
  V: number;
  sampling: GPUBuffer;
  state: GPUBuffer;
  /** f32 [rows], of sample-threshold; unread where nothing is filtered. */
  thresholds: GPUBuffer;
  /** (f32 score, u32 id) [rows, candidateCount(V)]. */
  best: GPUBuffer;
  /** The most rows of a step that are sampled from. Default 1. */
  rows?: number;
}

/** Argmax of logits with Gumbel noise, one candidate a workgroup. Equation in wgsl/sample-gumbel.wgsl. */
export function sampleGumbel(recorder: Recorder, { V, rows = 1, ...buffers }: SampleGumbelArgs): void {
  const candidates = candidateCount(V);
  kernel.record(recorder, {
    overrides: { VOCABULARY: V, PER_WORKGROUP },
    buffers,
    workgroups: [candidates, rows],
    cost: { bytesRead: 4 * rows * V, bytesWritten: 8 * rows * candidates, multiplyAdds: rows * V },
  });
}
