/** Appending ids to a cache step by step: each a submit of its own, so that other work and an abort come in between. */
import { MOST_FEW } from "../../kernels/define-kernel";
import type { Gpu } from "../gpu/device";
import { beginStep, type SequenceState } from "./sequence-state";
import { TILE_TOKENS } from "./step-programs";

export interface PrefillOptions {
  signal?: AbortSignal;
  /** One token a step, to measure what more at once are worth. */
  stepByStep?: boolean;
}

/** Most tokens of a prefill step: whole tiles; fewer on software adapters, where a step of 64 already takes seconds. */
export const chunkTokens = (gpu: Gpu): number => (gpu.tier.software ? 64 : 256);

/** Most tokens of a step of a few: one on software adapters with int8 weights, whose tiles cost by groups of 8 tokens. */
const fewTokens = ({ tier }: Gpu): number => (tier.software && tier.int8 ? 1 : MOST_FEW);

/**
 * Tokens of each step: whole tiles as long as there are; what is left in one more, or in two steps of at most `few` tokens,
 * which cost less than the tile.
 */
export function stepSizes(tokens: number, chunk: number, few = MOST_FEW): number[] {
  const sizes: number[] = [];
  const mostLeft = 2 * few;
  for (let left = tokens; left > 0; left -= sizes[sizes.length - 1]) {
    const rest = left % TILE_TOKENS;
    if (left <= mostLeft) sizes.push(Math.min(left, few));
    else if (left < chunk && rest <= mostLeft) sizes.push(left - rest);
    else sizes.push(Math.min(left, chunk));
  }
  return sizes;
}

/** Runs ids through the layers step by step, yielding after each was submitted: whether it was the last. */
export async function* prefillChunks(
  sequence: SequenceState,
  ids: readonly number[],
  { signal, stepByStep = false }: PrefillOptions = {},
): AsyncGenerator<boolean> {
  const { gpu, programs, cached } = sequence;
  let from = 0;
  const chunk = chunkTokens(gpu);
  const few = fewTokens(gpu);
  for (const size of stepByStep ? ids.map(() => 1) : stepSizes(ids.length, chunk, few)) {
    signal?.throwIfAborted();
    const part = ids.slice(from, from + size);
    const pass = await programs.pass(size, few);
    beginStep(sequence, part, size - 1);
    programs.submit([pass]);
    from += size;
    const last = from === ids.length;
    if (!last && (!stepByStep || from % chunk === 0)) await gpu.device.queue.onSubmittedWorkDone();
    gpu.check();
    cached.push(...part);
    yield last;
  }
}
