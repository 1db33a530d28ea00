import shader from "../wgsl/sample-pick.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { candidateCount } from "./sample-gumbel";

const kernel = defineKernel({
  name: "sample-pick",
  shader,
  bindings: { best: "read", sampling: "read", state: "write", tokens: "write", results: "write" },
});

export interface SamplePickArgs {
  /** (f32 score, u32 id) [rows, candidateCount(V)]. */
  best: GPUBuffer;
  V: number;
  sampling: GPUBuffer;
  state: GPUBuffer;
  /** u32 [tokens], the step's inputs: the first becomes the id sampled last. */
  ids: GPUBuffer;
  /** u32 [tokens of a submit]. */
  results: GPUBuffer;
}

/** Chooses the tokens, as many as count, and moves the step state on. See wgsl/sample-pick.wgsl. */
export function samplePick(recorder: Recorder, { best, V, sampling, state, ids, results }: SamplePickArgs): void {
  const candidates = candidateCount(V);
  kernel.record(recorder, {
    overrides: { CANDIDATES: candidates },
    buffers: { best, sampling, state, tokens: ids, results },
    workgroups: [1],
    cost: { bytesRead: 8 * candidates, bytesWritten: 16, multiplyAdds: 0 },
  });
}
