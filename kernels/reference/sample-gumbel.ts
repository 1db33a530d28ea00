/**
 * Twin of sample-gumbel: draws from softmax(logits / temperature) over the kept tokens by the Gumbel-max trick.
 *
 *   id = argmax over logit[i] >= threshold of logit[i] / temperature - log(-log(u[i])),  u[i] = uniform(seed, position, i)
 *
 * Temperature 0 is the plain argmax. Of equal values the lowest id wins. The random numbers are a hash, so that any
 * token of any position can be drawn by itself: PCG's output permutation over one step of its LCG, chained (Jarzynski
 * and Olano, "Hash Functions for GPU Rendering", JCGT 2020).
 */
export interface SampleGumbelArgs {
  /** [V]. */
  logits: ArrayLike<number>;
  /** Tokens below it are not drawn. */
  threshold: number;
  temperature: number;
  /** u32. */
  seed: number;
  /** Of the token to be drawn. */
  position: number;
}

export function sampleGumbel({ logits, threshold, temperature, seed, position }: SampleGumbelArgs): number {
  let best = -1;
  let bestValue = 0;
  for (let id = 0; id < logits.length; id++) {
    if (temperature > 0 && !(logits[id] >= threshold)) continue;
    const value = temperature > 0 ? logits[id] / temperature - Math.log(-Math.log(uniform(seed, position, id))) : logits[id];
    if (best < 0 || value > bestValue) {
      best = id;
      bestValue = value;
    }
  }
  return best;
}

export function pcg(x: number): number {
  const state = (Math.imul(x, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

/** In (0, 1), never 0 or 1: 23 bits of the hash and a half, exact in f32 (24 bits and a half would round up to 1). */
export function uniform(seed: number, position: number, id: number): number {
  const hash = pcg(seed ^ pcg(position ^ pcg(id)));
  return ((hash >>> 9) + 0.5) / 8388608;
}
