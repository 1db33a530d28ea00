/**
 * The decode loop. While tokens are decoded no GPU object is made: position, input id and stop flag live in the step state,
 * which the sampler advances, so that several steps go into one submit and one read-back.
 */
import { MOST_FEW } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import type { Program } from "../gpu/program";
import { isFiltered, packSampling, type SamplingParams } from "./sampling";
import { beginStep, type SequenceState } from "./sequence-state";
import { guessNext } from "./speculation";
import { MOST_STEPS } from "./step-buffers";
import type { CheckPrograms, Sampler } from "./step-programs";

export interface DecodeOptions extends SamplingParams {
  /** Most tokens to sample. */
  maxTokens: number;
  signal?: AbortSignal;
  /** Guess tokens and check several in one pass: the same tokens, sooner where guesses are right. Default "auto": where it pays. */
  speculate?: "auto" | "always" | "never";
}

/** Guesses of what comes after the token sampled last, and what checks them: programs for `capacity` tokens. */
interface Check {
  guess: number[];
  capacity: number;
  programs: CheckPrograms;
}

/** A submit and what comes back of it. */
interface Batch {
  submittedAt: number;
  arrival: Promise<{ ids: number[]; at: number }>;
  /** Passes of one token each; a check is one of several, sampling from logits that are there none. */
  passes: number;
  /** Guesses that it checks, in programs of which capacity. */
  guesses: number;
  capacity: number;
}

/** Time that a submit of several decode steps should take: short enough to stream smoothly and to abort at once. */
const SUBMIT_MS = 40;

/** Samples tokens from logits that are there: see Sequence.decode. */
export async function* decodeTokens(
  sequence: SequenceState,
  { maxTokens, signal, speculate = "auto", ...params }: DecodeOptions,
): AsyncGenerator<number[]> {
  const { gpu, step, programs, cached, gain, speculated } = sequence;
  gpu.device.queue.writeBuffer(step.sampling, 0, packSampling(params));
  const sample = ({ threshold, sample }: Sampler) => (isFiltered(params) ? [threshold, sample] : [sample]);
  const advance = [programs.decode, programs.sampler.head, ...sample(programs.sampler)];
  const most = Math.min(maxTokens, sequence.contextTokens - cached.length);
  const underWay: Batch[] = [];
  let [scheduled, given, steps, arrivedAt] = [0, 0, 1, 0];
  let pending = 0; // sampled, but not yet an input; nothing before the first batch has arrived
  let guess: number[] = []; // of what comes after it
  let check: Check | undefined; // of as much of the guess as is worth it
  try {
    for (let turn = 0; ; ) {
      if (!check) {
        for (; underWay.length < 2 && scheduled < most; turn++) {
          signal?.throwIfAborted();
          const count = turn === 0 ? 1 : Math.min(steps, most - scheduled);
          // The first token follows from logits that are there; each later one from a pass over the token before it.
          const work = turn === 0 ? sample(programs.sampler) : repeat(advance, count);
          underWay.push(
            sampleBatch(sequence, work, turn, { tokens: count, passes: turn === 0 ? 0 : count, guesses: 0, capacity: 1 }),
          );
          scheduled += count;
        }
      } else if (underWay.length === 0) {
        // Guesses follow what was read: a check has the device to itself, and waits for what is under way.
        signal?.throwIfAborted();
        const { programs, capacity, guess } = check;
        const { pass, sampler } = programs;
        const guesses = guess.length;
        beginStep(sequence, [pending, ...guess], 0);
        const work = [pass, sampler.head, ...sample(sampler)];
        underWay.push(sampleBatch(sequence, work, turn++, { tokens: 1 + guesses, passes: 0, guesses, capacity }));
      }
      const batch = underWay.shift();
      if (!batch) return;
      const { ids, at } = await batch.arrival;
      if (given > 0) cached.push(pending);
      cached.push(...ids.slice(0, -1));
      pending = ids[ids.length - 1];
      given += ids.length;
      if (underWay.length === 0) scheduled = given;
      const ms = at - Math.max(batch.submittedAt, arrivedAt);
      arrivedAt = at;
      gain.compared(guess, ids);
      if (batch.guesses > 0) {
        gain.checked(batch.capacity, ms);
        speculated.drafted += batch.guesses;
        speculated.accepted += ids.length - 1;
      } else if (batch.passes > 0) {
        gain.stepped(ms / ids.length);
        steps = stepsForNext(ms / ids.length);
      }
      yield ids;
      if (params.stopIds.includes(pending)) return;
      guess = speculate === "never" ? [] : guessNext(cached, pending, Math.min(MOST_FEW - 1, most - given - 1));
      check = await chooseCheck(sequence, guess, speculate === "always");
    }
  } finally {
    // Their staging buffers must be free again; what they sampled is beyond the end, or nobody wants it.
    await Promise.allSettled(underWay.map(({ arrival }) => arrival));
  }
}

/** How much of a guess to check. Undefined: nothing, or the programs for it are still being compiled; go on step by step. */
async function chooseCheck({ gain, programs }: SequenceState, guess: number[], always: boolean): Promise<Check | undefined> {
  if (guess.length === 0) return undefined;
  const worth = always ? { guesses: guess.length, capacity: MOST_FEW } : gain.worthChecking(guess.length);
  if (!worth) return undefined;
  const { guesses, capacity } = worth;
  const recorded = always ? await programs.check(capacity) : programs.checkWhenReady(capacity);
  return recorded && { guess: guess.slice(0, guesses), capacity, programs: recorded };
}

/** Replays `work`, which samples at most `tokens` tokens, and reads those that count. */
function sampleBatch(
  { gpu, step, programs, encoded }: SequenceState,
  work: readonly Program[],
  turn: number,
  { tokens, ...kind }: { tokens: number } & Pick<Batch, "passes" | "guesses" | "capacity">,
): Batch {
  const { state, results, readback } = step;
  const staging = readback[turn % readback.length];
  gpu.device.queue.writeBuffer(state, SAMPLED_AT, turn === 0 ? RESET_SAMPLED_AND_DONE : RESET_SAMPLED);
  gpu.device.queue.writeBuffer(results, 0, NO_RESULTS);
  const submittedAt = performance.now();
  programs.submit(work, (encoder) => encoder.copyBufferToBuffer(results, 0, staging, 0, 4 * tokens));
  if (kind.passes > 0) {
    encoded.ms += performance.now() - submittedAt;
    encoded.tokens += kind.passes;
  }
  // Mapped in the task of the submit: its resolution is the news that the submit is done.
  const arrival = staging.mapAsync(GPUMapMode.READ, 0, 4 * tokens).then(
    () => {
      const at = performance.now();
      const sampled = [...new Uint32Array(staging.getMappedRange(0, 4 * tokens))];
      staging.unmap();
      gpu.check();
      const end = sampled.indexOf(NO_RESULT);
      return { ids: end < 0 ? sampled : sampled.slice(0, end), at };
    },
    (cause) => {
      gpu.check();
      throw new OchreError("INTERNAL", "[engine] sampled tokens could not be read back.", { cause });
    },
  );
  arrival.catch(() => {}); // whoever awaits it meets the error; a batch that nobody awaits any more must not
  return { submittedAt, arrival, ...kind };
}

/** Byte of `sampled` in the step state; `done` follows it. */
const SAMPLED_AT = 12;
const NO_RESULT = 0xffffffff;
const NO_RESULTS = new Uint32Array(MOST_STEPS).fill(NO_RESULT);
const RESET_SAMPLED = Uint32Array.of(0);
const RESET_SAMPLED_AND_DONE = Uint32Array.of(0, 0);

const stepsForNext = (msPerToken: number): number => Math.min(MOST_STEPS, Math.max(1, Math.floor(SUBMIT_MS / msPerToken)));

const repeat = (programs: readonly Program[], times: number): Program[] => Array.from({ length: times }, () => programs).flat();
