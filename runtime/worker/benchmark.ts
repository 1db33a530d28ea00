/** Token-exact runs on a sequence of their own, timed where the engine is: no text, no wire, no page in between. */
import { OchreError } from "../errors";
import { percentile, replyMetrics, tokenGaps } from "../metrics";
import type { BenchmarkResult, BenchmarkRun } from "../sdk/types";
import type { BenchmarkRequest } from "./protocol";
import type { EngineSurface, SequenceSurface } from "./surface";

/** @throws OchreError CONTEXT_FULL, GPU_MEMORY, GPU_LOST; the signal's reason on abort. */
export async function runBenchmark(
  engine: EngineSurface,
  contextTokens: number,
  request: BenchmarkRequest,
  onProgress: (progress: { run: number; runs: number }) => void,
  signal: AbortSignal,
): Promise<BenchmarkResult> {
  const { promptTokens, generateTokens, depth, stepByStep, repetitions, warmup } = request;
  const wanted = depth + promptTokens + generateTokens;
  if (wanted > contextTokens) {
    throw new OchreError(
      "CONTEXT_FULL",
      `[benchmark] depth, prompt and generated tokens must fit in ${contextTokens} tokens but need ${wanted}.`,
      { details: { requested: wanted, quota: contextTokens } },
    );
  }
  const ids = scatteredIds(depth + promptTokens, engine.config.V);
  const sequence = await engine.createSequence({ contextTokens });
  try {
    if (depth > 0) await sequence.prefill(ids.slice(0, depth), { signal });
    const runs: BenchmarkRun[] = [];
    let before = { ...sequence.encoded };
    for (let run = 0; run < warmup + repetitions; run++) {
      if (run === warmup) before = { ...sequence.encoded };
      sequence.truncate(depth);
      const measured = await runOnce(sequence, ids.slice(depth), request, signal);
      if (run >= warmup) runs.push(measured);
      onProgress({ run: run + 1, runs: warmup + repetitions });
    }
    const gaps = runs.flatMap(({ gapsMs }) => gapsMs);
    const encodedTokens = sequence.encoded.tokens - before.tokens;
    return {
      promptTokens,
      generateTokens,
      depth,
      stepByStep,
      runs,
      ...(gaps.length > 0 && { itlMs: { p50: percentile(gaps, 50)!, p95: percentile(gaps, 95)! } }),
      dispatchesPerLayer: sequence.dispatchesPerLayer,
      dispatchesPerToken: sequence.dispatchesPerToken,
      ...(encodedTokens > 0 && { encodeMsPerToken: (sequence.encoded.ms - before.ms) / encodedTokens }),
      bytesPerToken: sequence.bytesPerToken(),
      weightBytes: engine.weightBytes,
      kvBytes: sequence.kvBytes,
    };
  } finally {
    sequence.dispose();
  }
}

async function runOnce(
  sequence: SequenceSurface,
  prompt: readonly number[],
  { generateTokens, stepByStep }: BenchmarkRequest,
  signal: AbortSignal,
): Promise<BenchmarkRun> {
  const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [] };
  const calledAt = performance.now();
  await sequence.prefill(prompt, { signal, stepByStep });
  const prefillEndedAt = performance.now();
  const batches: { at: number; tokens: number }[] = [];
  for await (const batch of sequence.decode({ ...greedy, maxTokens: generateTokens, speculate: "never", signal })) {
    signal.throwIfAborted();
    batches.push({ at: performance.now(), tokens: batch.length });
  }
  const { prefillTokensPerSecond, decodeTokensPerSecond } = replyMetrics({
    calledAt,
    prefillStartedAt: calledAt,
    prefillEndedAt,
    batches,
    promptTokens: prompt.length,
    cachedTokens: 0,
  });
  return { ttftMs: batches[0].at - calledAt, prefillTokensPerSecond, decodeTokensPerSecond, gapsMs: tokenGaps(batches) };
}

/** The same ids every time, spread over the vocabulary by the golden ratio: no run of one token, no text. */
function scatteredIds(count: number, V: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor((((i + 1) * 0.6180339887498949) % 1) * V));
}
