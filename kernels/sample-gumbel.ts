import shader from "../wgsl/sample-gumbel.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "sample-gumbel",
  shader,
  bindings: { logits: "read", sampling: "read", state: "read", best: "write" },
});

/** Tokens that one workgroup compares. */
const PER_WORKGROUP = 1024;

/** How many candidates sample-gumbel leaves for sample-pick. */
export const candidateCount = (V: number): number => Math.ceil(V / PER_WORKGROUP);

export interface SampleGumbelArgs {
  /** f32 [V]. */
  logits: GPUBuffer;
  V: number;
  sampling: GPUBuffer;
  state: GPUBuffer;
  /** (f32 score, u32 id) [candidateCount(V)]. */
  best: GPUBuffer;
}

/** Argmax of logits with Gumbel noise, one candidate a workgroup. Equation in wgsl/sample-gumbel.wgsl. */
export function sampleGumbel(recorder: Recorder, { logits, V, sampling, state, best }: SampleGumbelArgs): void {
  kernel.record(recorder, {
    overrides: { VOCABULARY: V, PER_WORKGROUP },
    buffers: { logits, sampling, state, best },
    workgroups: [candidateCount(V)],
    cost: { bytesRead: 4 * V, bytesWritten: 8 * candidateCount(V), multiplyAdds: V },
  });
}
