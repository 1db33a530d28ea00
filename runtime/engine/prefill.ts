/** Appending ids to a cache in chunks: each a submit of its own, so that other work and an abort come in between. */
import type { Gpu } from "../gpu/device";
import { STATE_BYTES, type StepBuffers } from "./step-buffers";
import type { StepPrograms } from "./step-programs";

/** What prefill and decode work on. */
export interface SequenceState {
  gpu: Gpu;
  step: StepBuffers;
  programs: StepPrograms;
  /** Ids whose keys and values are cached. */
  cached: number[];
  contextTokens: number;
  /** What encoding and submitting has cost the CPU so far, and for how many tokens' passes. */
  encoded: { ms: number; tokens: number };
}

/** Tokens of a prefill step: whole tiles; fewer on software adapters, where a step of 64 already takes seconds. */
export const chunkTokens = (gpu: Gpu): number => (gpu.tier.software ? 64 : 256);

/** Runs ids through the layers chunk by chunk, yielding after each was submitted: whether it was the last. */
export async function* prefillChunks(
  { gpu, step, programs, cached }: SequenceState,
  ids: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<boolean> {
  const size = chunkTokens(gpu);
  for (let from = 0; from < ids.length; from += size) {
    signal?.throwIfAborted();
    const chunk = ids.slice(from, from + size);
    const program = await programs.forward(chunk.length);
    beginStep(gpu, step, cached.length, chunk, chunk.length - 1);
    programs.submit([program]);
    const last = from + size >= ids.length;
    if (!last) await gpu.device.queue.onSubmittedWorkDone();
    gpu.check();
    cached.push(...chunk);
    yield last;
  }
}

/** Tells the next submit its input: `ids` at `position` and after; the head begins with row `row` of them. */
export function beginStep(gpu: Gpu, { state, ids: inputs }: StepBuffers, position: number, ids: readonly number[], row: number) {
  const words = new Uint32Array(STATE_BYTES / 4);
  words.set([position, ids.length, row]);
  gpu.device.queue.writeBuffer(state, 0, words);
  gpu.device.queue.writeBuffer(inputs, 0, Uint32Array.from(ids));
}
