/** `model.benchmark()` over the real engine: counts are the model's, times are positive, every run does the same. */
import { expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { runBenchmark } from "../../runtime/worker/benchmark";
import { klDivergence } from "./compare";
import { tinyModel } from "./tiny-model";

it("measures a tiny model token by token", async () => {
  const tiny = await tinyModel("llama");
  const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny });
  const request = { promptTokens: 5, generateTokens: 9, depth: 70, stepByStep: false, repetitions: 2, warmup: 1 };
  const bytes = engine.gpuBytes;
  const result = await runBenchmark(engine, 100, request, () => {}, new AbortController().signal);
  expect(result.runs).toHaveLength(2);
  for (const { ttftMs, prefillTokensPerSecond, decodeTokensPerSecond, gapsMs } of result.runs) {
    for (const value of [ttftMs, prefillTokensPerSecond, decodeTokensPerSecond]) expect(value).toBeGreaterThan(0);
    expect(gapsMs).toHaveLength(8);
  }
  expect(result.itlMs!.p95).toBeGreaterThanOrEqual(result.itlMs!.p50);
  expect(result.encodeMsPerToken).toBeGreaterThan(0);
  expect(Number.isInteger(result.dispatchesPerLayer)).toBe(true);
  expect(result.dispatchesPerToken - result.dispatchesPerLayer * tiny.config.L).toBeLessThanOrEqual(6);
  // Of the cache, the last token reads what 70 + 5 + 8 tokens left.
  const weights = result.bytesPerToken - Math.round((result.kvBytes * 83) / 100);
  expect(weights).toBeGreaterThan(0);
  expect(weights).toBeLessThanOrEqual(engine.weightBytes);
  // Only the small uniforms that hold shapes stay.
  expect(engine.gpuBytes - bytes).toBeLessThan(1024);
  engine.dispose();
});

it("reads step by step what it reads at once", async () => {
  const tiny = await tinyModel("llama");
  // In int8, steps round what they read otherwise than tiles do.
  const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny, choice: { int8: false } });
  const ids = Array.from({ length: 70 }, (_, i) => (i * 73 + 11) % 512);
  const sequence = await engine.createSequence({ contextTokens: 100 });
  await sequence.prefill(ids);
  const atOnce = await sequence.logits();
  sequence.truncate(0);
  await sequence.prefill(ids, { stepByStep: true });
  expect(sequence.ids).toEqual(ids);
  expect(klDivergence(await sequence.logits(), atOnce)).toBeLessThan(1e-4);
  engine.dispose();
});

it("measures what the device copies once, and stops when told to", async () => {
  const tiny = await tinyModel("llama");
  const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny });
  const reason = new Error("enough");
  await expect(engine.copyBandwidth(AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(engine.copyGigabytesPerSecond).toBeUndefined();
  const measured = await engine.copyBandwidth();
  expect(measured).toBeGreaterThan(0);
  expect(await engine.copyBandwidth()).toBe(measured);
  engine.dispose();
});
