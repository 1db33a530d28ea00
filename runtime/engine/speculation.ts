/**
 * Guessing tokens without a second model: what followed the last few tokens when they came before will follow them again
 * (LLMA, arXiv 2304.04487; prompt lookup decoding). One pass over a few tokens checks the guesses (speculative decoding, arXiv
 * 2211.17192). Here is what to guess, and whether checking it is worth its time. Pure.
 */
import { MOST_FEW } from "../../kernels/define-kernel";

/** Tokens that must have come before: more make a better guess, so the longer match is looked for first. */
const MATCHES = [3, 2] as const;

/**
 * At most `most` tokens that may come after `ids` and then `last`; none where their end has not come before. A match that is
 * closer to the end than `most` repeats: "ababab" is guessed to go on so.
 */
export function guessNext(ids: readonly number[], last: number, most: number): number[] {
  const end = ids.length;
  const at = (i: number): number => (i < end ? ids[i] : last);
  for (const match of MATCHES) {
    for (let start = end - match; start >= 0; start--) {
      let same = 0;
      while (same < match && at(start + same) === at(end + 1 - match + same)) same++;
      if (same < match) continue;
      const period = end + 1 - match - start;
      return Array.from({ length: Math.max(0, most) }, (_, i) => at(end + 1 - period + (i % period)));
    }
  }
  return [];
}

/** A chance of one half, as sure as two tokens seen would make it. */
const PRIOR = { right: 1, seen: 2 };
/** Weight of what is known against the next observation. */
const MEMORY = 0.9;
/** By how much a check seems cheaper each time that it was not made: one slow measurement is not for ever. */
const FADING = 0.98;

/**
 * Measured times and hit rates, exponentially averaged, and what follows from them. Guesses that nobody checked count too: what
 * was sampled instead says whether they were right, so that the rate is known without paying for it.
 */
export class SpeculationGain {
  private stepMs: number | undefined;
  /** Time of a check by the capacity of its programs, and the share of it that is still believed. */
  private readonly checks = new Map<number, { ms: number; share: number }>();
  private right = PRIOR.right;
  private seen = PRIOR.seen;

  /** A step of one token took so long. */
  stepped(ms: number): void {
    this.stepMs = averaged(this.stepMs, ms);
  }

  /** A pass over at most `capacity` tokens took so long, from the submit until its tokens were read. */
  checked(capacity: number, ms: number): void {
    this.checks.set(capacity, { ms: averaged(this.checks.get(capacity)?.ms, ms), share: 1 });
  }

  /** Tokens came where `guess` had been guessed. */
  compared(guess: readonly number[], tokens: readonly number[]): void {
    const most = Math.min(guess.length, tokens.length);
    let right = 0;
    while (right < most && guess[right] === tokens[right]) right++;
    const seen = Math.min(most, right + 1);
    this.right = this.right * MEMORY ** seen + right;
    this.seen = this.seen * MEMORY ** seen + seen;
  }

  /**
   * How many of `guessed` tokens to check, and in programs of which capacity: what promises the most tokens a millisecond;
   * undefined where single steps promise as many. A capacity that was never tried promises to cost no more than a step, and is
   * tried with as many guesses as it holds.
   */
  worthChecking(guessed: number): { guesses: number; capacity: number } | undefined {
    const { stepMs, checks } = this;
    if (stepMs === undefined || guessed === 0) return undefined;
    let best: { guesses: number; capacity: number } | undefined;
    let mostPerMs = 1 / stepMs;
    for (let capacity = 2; capacity <= MOST_FEW; capacity *= 2) {
      const known = checks.get(capacity);
      if (!known && guessed < capacity - 1) continue;
      const guesses = Math.min(guessed, capacity - 1);
      const tokensPerMs = this.expectedTokens(guesses) / (known ? known.ms * known.share : stepMs);
      if (tokensPerMs > mostPerMs) {
        best = { guesses, capacity };
        mostPerMs = tokensPerMs;
      }
    }
    if (!best) for (const check of checks.values()) check.share *= FADING;
    return best;
  }

  /** Every guess up to the first wrong one, and the token that comes after them or instead: sum of rate^i. */
  private expectedTokens(guesses: number): number {
    const rate = this.right / this.seen;
    let tokens = 1;
    for (let i = 1, all = rate; i <= guesses; i++, all *= rate) tokens += all;
    return tokens;
  }
}

const averaged = (known: number | undefined, ms: number): number => (known === undefined ? ms : known + (ms - known) * 0.3);
