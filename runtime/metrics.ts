/** Latency and throughput of one reply, from timestamps. Pure. What was not measured is absent, never zero. */

export interface LoadTimes {
  download?: number;
  verify?: number;
  upload?: number;
  compile?: number;
}

export interface Metrics {
  /** Tokens of the rendered prompt, cached ones included. */
  promptTokens: number;
  /** Prompt tokens whose keys and values were already in the cache. */
  cachedTokens: number;
  generatedTokens: number;
  /** From the call, tokenizing included, to the first token on the worker. */
  ttftMs?: number;
  prefillTokensPerSecond?: number;
  prefillMsPerToken?: number;
  decodeTokensPerSecond?: number;
  /** Time between tokens; tokens of one GPU submit share its time evenly. */
  itlMs?: { p50: number; p95: number };
  loadMs?: LoadTimes;
  gpu?: { vendor: string; architecture: string; features: string[] };
  kvBytes?: number;
  weightBytes?: number;
  /** Bytes of weights and cache read for one decoded token at the end of the reply. */
  bytesPerToken?: number;
  /** Share of the GPU's copy bandwidth that decoding reached; only once that was measured (`model.copyBandwidth()`). */
  rooflineShare?: number;
  /** Tokens that were guessed and checked, and how many of those were right: passes over the model that the reply did without. */
  draftedTokens?: number;
  acceptedTokens?: number;
  adapter?: string | null;
  seed?: number;
}

export interface ReplyTimeline {
  /** Milliseconds, any common origin. */
  calledAt: number;
  prefillStartedAt: number;
  /** When the last prompt token's logits were ready: the first token follows from them. */
  prefillEndedAt: number;
  /** For each GPU submit in order: when its tokens arrived, and how many. The first holds the first token. */
  batches: { at: number; tokens: number }[];
  promptTokens: number;
  cachedTokens: number;
}

/** Nearest-rank percentile of an unsorted list; undefined when empty. */
export function percentile(values: number[], p: number): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil((p / 100) * sorted.length) - 1))];
}

/** Milliseconds from each token to the next, in order. */
export function tokenGaps(batches: ReplyTimeline["batches"]): number[] {
  return batches.slice(1).flatMap(({ at, tokens }, i) => Array<number>(tokens).fill((at - batches[i].at) / tokens));
}

export function replyMetrics(timeline: ReplyTimeline): Metrics {
  const { batches, promptTokens, cachedTokens } = timeline;
  const generatedTokens = batches.reduce((sum, batch) => sum + batch.tokens, 0);
  const metrics: Metrics = { promptTokens, cachedTokens, generatedTokens };
  const prefilled = promptTokens - cachedTokens;
  const prefillMs = timeline.prefillEndedAt - timeline.prefillStartedAt;
  if (prefilled > 0 && prefillMs > 0) {
    metrics.prefillTokensPerSecond = (1000 * prefilled) / prefillMs;
    metrics.prefillMsPerToken = prefillMs / prefilled;
  }
  if (batches.length === 0) return metrics;
  metrics.ttftMs = batches[0].at - timeline.calledAt;
  const gaps = tokenGaps(batches);
  const decodeMs = batches[batches.length - 1].at - batches[0].at;
  if (gaps.length > 0 && decodeMs > 0) {
    metrics.decodeTokensPerSecond = (1000 * gaps.length) / decodeMs;
    metrics.itlMs = { p50: percentile(gaps, 50) as number, p95: percentile(gaps, 95) as number };
  }
  return metrics;
}
