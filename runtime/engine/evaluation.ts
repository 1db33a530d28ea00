/** How well a model predicts a text, and how far its predictions are from those of the model that it was made of. */

/** One context of a model, on the GPU or the CPU. */
export interface ScoredSequence {
  /** Forgets everything after the first n ids. */
  truncate(n: number): void;
  /** Appends ids and hands out the logits [V] after each of them. */
  prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void>;
}

export interface Score {
  /** Tokens that were predicted. */
  scored: number;
  /** exp of the mean of -log p(token). */
  perplexity: number;
  /** Where there is a source. */
  source?: SourceScore;
}

export interface SourceScore {
  /** The source's own. */
  perplexity: number;
  /** Share of predictions whose likeliest token is the source's. */
  topAgreement: number;
  /** Mean of KL(source || model), nats a token. */
  kl: number;
}

export interface ScoreOptions {
  /** Tokens of a window. */
  context: number;
  source?: ScoredSequence;
  /** After every window: how many of all are done, and the score so far. */
  onWindow?: (done: number, total: number, soFar: Score) => void;
  signal?: AbortSignal;
}

/** Tokens whose logits of a source are held at once: 4 bytes for each and each word of the vocabulary. */
const HELD_TOKENS = 128;

/**
 * Scores the whole windows of `ids`, which do not overlap; a window's first token is read and not scored. The sequences are left with
 * the last window in them.
 * @throws the signal's reason on abort, between windows
 */
export async function score(
  model: ScoredSequence,
  ids: readonly number[],
  { context, source, onWindow, signal }: ScoreOptions,
): Promise<Score> {
  const sums = { scored: 0, surprise: 0, sourceSurprise: 0, agreed: 0, divergence: 0 };
  const soFar = (): Score => {
    const { scored } = sums;
    const perplexity = Math.exp(sums.surprise / scored);
    if (!source) return { scored, perplexity };
    const kl = sums.divergence / scored;
    return {
      scored,
      perplexity,
      source: { perplexity: Math.exp(sums.sourceSurprise / scored), topAgreement: sums.agreed / scored, kl },
    };
  };
  const total = Math.floor(ids.length / context);
  for (let window = 0; window < total; window++) {
    const tokens = ids.slice(window * context, (window + 1) * context);
    model.truncate(0);
    source?.truncate(0);
    for (let from = 0; from < context - 1; from += HELD_TOKENS) {
      signal?.throwIfAborted();
      const piece = tokens.slice(from, Math.min(from + HELD_TOKENS, context - 1));
      const expected: Float32Array[] = [];
      await source?.prefillLogits(piece, (_, logits) => expected.push(logits));
      await model.prefillLogits(piece, (position, logits) => {
        const next = tokens[position + 1];
        const normaliser = logSumExp(logits);
        sums.scored++;
        sums.surprise += normaliser - logits[next];
        if (!source) return;
        const wanted = expected[position - from];
        const sourceNormaliser = logSumExp(wanted);
        sums.sourceSurprise += sourceNormaliser - wanted[next];
        sums.agreed += Number(argmax(wanted) === argmax(logits));
        sums.divergence += divergence(wanted, sourceNormaliser, logits, normaliser);
      });
    }
    onWindow?.(window + 1, total, soFar());
  }
  return soFar();
}

function logSumExp(logits: Float32Array): number {
  const max = logits[argmax(logits)];
  let sum = 0;
  for (let v = 0; v < logits.length; v++) sum += Math.exp(logits[v] - max);
  return max + Math.log(sum);
}

/** The lowest id of the largest. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  return best;
}

/** KL(p || q) of two softmaxes, each with its logSumExp. */
function divergence(p: Float32Array, pNormaliser: number, q: Float32Array, qNormaliser: number): number {
  let sum = 0;
  for (let v = 0; v < p.length; v++) {
    const log = p[v] - pNormaliser;
    sum += Math.exp(log) * (log - (q[v] - qNormaliser));
  }
  return sum;
}
