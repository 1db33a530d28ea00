import { OchreError } from "../errors";

/** How to choose the next token; every field set. */
export interface SamplingParams {
  /** 0: the likeliest token. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** u32. */
  seed: number;
  /** At most 16 ids that end the reply. */
  stopIds: readonly number[];
}

const MOST_STOP_IDS = 16;
/** u32 words of the struct in wgsl/lib/sampling.wgsl. */
export const SAMPLING_WORDS = 8 + MOST_STOP_IDS;

/** Whether sample-threshold has to run: a cut is asked for and there is something random to cut. */
export function isFiltered({ temperature, topK, topP, minP }: SamplingParams): boolean {
  return temperature > 0 && (topK > 0 || topP < 1 || minP > 0);
}

/** The struct of wgsl/lib/sampling.wgsl. @throws OchreError INVALID_ARGUMENT on more stop ids than it holds. */
export function packSampling(params: SamplingParams): Uint32Array {
  const { temperature, topK, topP, minP, seed, stopIds } = params;
  if (stopIds.length > MOST_STOP_IDS) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[sampling] at most ${MOST_STOP_IDS} stop ids fit but ${stopIds.length} were given.`,
    );
  }
  const words = new Uint32Array(SAMPLING_WORDS);
  const floats = new Float32Array(words.buffer);
  floats[0] = temperature;
  words[1] = topK;
  floats[2] = topP;
  floats[3] = minP;
  words[4] = seed;
  words[5] = stopIds.length;
  words[6] = Number(isFiltered(params));
  words.set(stopIds, 8);
  return words;
}
