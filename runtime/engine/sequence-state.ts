/** What prefill and decode share of a sequence. */
import type { Gpu } from "../gpu/device";
import type { SpeculationGain } from "./speculation";
import { STATE_BYTES, type StepBuffers } from "./step-buffers";
import type { StepPrograms } from "./step-programs";

export interface SequenceState {
  gpu: Gpu;
  step: StepBuffers;
  programs: StepPrograms;
  /** Ids whose keys and values are cached. */
  cached: number[];
  contextTokens: number;
  /** What encoding and submitting has cost the CPU so far, and for how many tokens' passes. */
  encoded: { ms: number; tokens: number };
  /** Tokens guessed and checked so far, and how many of them came for nothing because the guess was right. */
  speculated: { drafted: number; accepted: number };
  gain: SpeculationGain;
}

/** Tells the next submit its input: `ids` behind the cached ones. From row `row` on, rows go to the head. */
export function beginStep({ gpu, step, cached }: SequenceState, ids: readonly number[], row: number): void {
  const words = new Uint32Array(STATE_BYTES / 4);
  words.set([cached.length, ids.length, row]);
  gpu.device.queue.writeBuffer(step.state, 0, words);
  gpu.device.queue.writeBuffer(step.ids, 0, Uint32Array.from(ids));
}
