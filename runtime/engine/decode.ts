/**
 * The decode loop. While tokens are decoded no GPU object is made: position, input id and stop flag live in the step state,
 * which the sampler advances, so that several steps go into one submit and one read-back.
 */
import { OchreError } from "../errors";
import type { Program } from "../gpu/program";
import type { SequenceState } from "./prefill";
import { isFiltered, packSampling, type SamplingParams } from "./sampling";
import { MOST_STEPS } from "./step-buffers";

export interface DecodeOptions extends SamplingParams {
  /** Most tokens to sample. */
  maxTokens: number;
  signal?: AbortSignal;
}

/** Time that a submit of several decode steps should take: short enough to stream smoothly and to abort at once. */
const SUBMIT_MS = 40;

/** Samples tokens from logits that are there: see Sequence.decode. */
export async function* decodeTokens(
  sequence: SequenceState,
  { maxTokens, signal, ...params }: DecodeOptions,
): AsyncGenerator<number[]> {
  const { gpu, step, programs, cached } = sequence;
  gpu.device.queue.writeBuffer(step.sampling, 0, packSampling(params));
  const sample = isFiltered(params) ? [programs.threshold, programs.sample] : [programs.sample];
  const advance = [programs.decode, programs.head, ...sample];
  const most = Math.min(maxTokens, sequence.contextTokens - cached.length);
  const underWay: Promise<number[]>[] = [];
  let scheduled = 0;
  let steps = 1;
  let pending: number | undefined; // sampled, but not yet an input
  let arrivedAt = performance.now();
  try {
    for (let turn = 0; ; ) {
      for (; underWay.length < 2 && scheduled < most; turn++) {
        signal?.throwIfAborted();
        const count = turn === 0 ? 1 : Math.min(steps, most - scheduled);
        // The first token follows from logits that are there; each later one from a pass over the token before it.
        underWay.push(sampleBatch(sequence, turn === 0 ? sample : repeat(advance, count), count, turn));
        scheduled += count;
      }
      const batch = await underWay.shift();
      if (!batch) return;
      if (pending !== undefined) cached.push(pending);
      cached.push(...batch.slice(0, -1));
      pending = batch[batch.length - 1];
      const now = performance.now();
      if (turn > 2) steps = stepsForNext((now - arrivedAt) / batch.length);
      arrivedAt = now;
      yield batch;
      if (params.stopIds.includes(pending)) return;
    }
  } finally {
    // Their staging buffers must be free again; what they sampled is beyond the end, or nobody wants it.
    await Promise.allSettled(underWay);
  }
}

/** Replays `replayed`, which sample `count` tokens, and reads those sampled before a stop. */
function sampleBatch(
  { gpu, step, programs, encoded }: SequenceState,
  replayed: readonly Program[],
  count: number,
  turn: number,
): Promise<number[]> {
  const { state, results, readback } = step;
  const staging = readback[turn % readback.length];
  gpu.device.queue.writeBuffer(state, SAMPLED_AT, turn === 0 ? RESET_SAMPLED_AND_DONE : RESET_SAMPLED);
  gpu.device.queue.writeBuffer(results, 0, NO_RESULTS);
  const startedAt = performance.now();
  programs.submit(replayed, (encoder) => encoder.copyBufferToBuffer(results, 0, staging, 0, 4 * count));
  // The first turn samples from logits that are there, without a pass over the model.
  if (turn > 0) {
    encoded.ms += performance.now() - startedAt;
    encoded.tokens += count;
  }
  // Mapped in the task of the submit: its resolution is the news that the submit is done.
  const ids = staging.mapAsync(GPUMapMode.READ, 0, 4 * count).then(
    () => {
      const sampled = [...new Uint32Array(staging.getMappedRange(0, 4 * count))];
      staging.unmap();
      gpu.check();
      const end = sampled.indexOf(NO_RESULT);
      return end < 0 ? sampled : sampled.slice(0, end);
    },
    (cause) => {
      gpu.check();
      throw new OchreError("INTERNAL", "[engine] sampled tokens could not be read back.", { cause });
    },
  );
  ids.catch(() => {}); // whoever awaits it meets the error; a batch that nobody awaits any more must not
  return ids;
}

/** Byte of `sampled` in the step state; `done` follows it. */
const SAMPLED_AT = 12;
const NO_RESULT = 0xffffffff;
const NO_RESULTS = new Uint32Array(MOST_STEPS).fill(NO_RESULT);
const RESET_SAMPLED = Uint32Array.of(0);
const RESET_SAMPLED_AND_DONE = Uint32Array.of(0, 0);

const stepsForNext = (msPerToken: number): number => Math.min(MOST_STEPS, Math.max(1, Math.floor(SUBMIT_MS / msPerToken)));

const repeat = (programs: readonly Program[], times: number): Program[] => Array.from({ length: times }, () => programs).flat();
