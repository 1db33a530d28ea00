import { expect, it, vi } from "vitest";
import type { KernelTime, SelfTestRow } from "../../runtime/sdk/types";
import { gate, loadFake, rejection, ticks } from "./wire";

it("reads the prompt on top of the depth and decodes greedily to the end, once a run", async () => {
  const { model, engine } = await loadFake();
  engine.script = Array(3).fill("1234567890");
  const progress: { run: number; runs: number }[] = [];
  const options = { promptTokens: 8, generateTokens: 5, depth: 16, repetitions: 2, warmup: 1 };
  const result = await model.benchmark({ ...options, onProgress: (now) => progress.push(now) });
  expect(engine.prefills).toEqual([16, 8, 8, 8]);
  expect(engine.decodes).toHaveLength(3);
  expect(engine.decodes[0]).toMatchObject({ temperature: 0, maxTokens: 5, stopIds: [] });
  expect(progress).toEqual([1, 2, 3].map((run) => ({ run, runs: 3 })));
  expect(result).toMatchObject({
    promptTokens: 8,
    generateTokens: 5,
    depth: 16,
    itlMs: { p50: expect.any(Number), p95: expect.any(Number) },
    dispatchesPerLayer: 7,
    dispatchesPerToken: 20,
    encodeMsPerToken: 0.5,
    bytesPerToken: 1000 + 16 + 8 + 4,
    weightBytes: 1000,
    kvBytes: 100,
  });
  expect(result.runs).toHaveLength(2);
  for (const { ttftMs, prefillTokensPerSecond, decodeTokensPerSecond, gapsMs } of result.runs) {
    for (const value of [ttftMs, prefillTokensPerSecond, decodeTokensPerSecond]) expect(value).toBeGreaterThan(0);
    expect(gapsMs).toHaveLength(3); // the first batch held two of the five
  }
  expect(engine.sequences).toBe(0);
  await model.dispose();
});

it("leaves out what one token cannot show", async () => {
  const { model, engine } = await loadFake();
  engine.batchTokens = 1;
  const result = await model.benchmark({ promptTokens: 1, generateTokens: 1, warmup: 0, repetitions: 1 });
  expect(result).not.toHaveProperty("itlMs");
  expect(result.runs[0].decodeTokensPerSecond).toBeUndefined();
  await model.dispose();
});

it("refuses what does not fit the window and what makes no sense, and gives the cache back", async () => {
  const { model, engine } = await loadFake();
  expect(await rejection(model.benchmark({ promptTokens: 50, generateTokens: 40, depth: 11 }))).toMatchObject({
    code: "CONTEXT_FULL",
    details: { requested: 101, quota: 100 },
  });
  await expect(model.benchmark({ promptTokens: 0, generateTokens: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(model.benchmark({ promptTokens: 1, generateTokens: 1, warmup: -1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  expect(engine.sequences).toBe(0);
  await model.dispose();
});

it("aborts with the signal's own reason; sessions go on", async () => {
  const { model, engine } = await loadFake();
  const { closed, open } = gate();
  engine.beforeBatch = () => closed;
  const abort = new AbortController();
  const running = rejection(model.benchmark({ promptTokens: 4, generateTokens: 4, signal: abort.signal }));
  await ticks();
  abort.abort("enough");
  await ticks();
  open();
  expect(await running).toBe("enough");
  const session = await model.createSession();
  expect(await session.prompt("Hi")).toBe("…");
  await model.dispose();
});

it("measures what the GPU copies once it is asked to; replies after that know their share of it", async () => {
  const { model, engine } = await loadFake();
  engine.script = ["12345678", "12345678"];
  const session = await model.createSession();
  await session.prompt("Hi");
  expect(session.lastMetrics).not.toHaveProperty("rooflineShare");
  expect(await model.copyBandwidth()).toBe(0.001);
  await session.prompt("Hi");
  const { rooflineShare, decodeTokensPerSecond, bytesPerToken } = session.lastMetrics!;
  expect(rooflineShare).toBeCloseTo((decodeTokensPerSecond! * bytesPerToken!) / 1e6, 10);
  await expect(model.copyBandwidth({ signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
  await model.dispose();
  expect(await rejection(model.copyBandwidth())).toMatchObject({ code: "DISPOSED" });
});

it("profiles a token at a depth, row by row", async () => {
  const { model } = await loadFake();
  const onRow = vi.fn<(row: KernelTime) => void>();
  const rows = await model.profile({ depth: 7, onRow });
  expect(rows).toEqual([{ kernel: "attention-decode", weights: "", dispatches: 2, ms: 1, bytes: 700, multiplyAdds: 1 }]);
  expect(onRow.mock.calls.flat()).toEqual(rows);
  await expect(model.profile({ depth: -1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await model.dispose();
  expect(await rejection(model.profile())).toMatchObject({ code: "DISPOSED" });
});

it("tells each row of the self-test as it comes", async () => {
  const { model } = await loadFake();
  const onRow = vi.fn<(row: SelfTestRow) => void>();
  const rows = await model.selfTest({ onRow });
  expect(rows.map(({ kernel, ok }) => ({ kernel, ok }))).toEqual([
    { kernel: "matvec-palette", ok: true },
    { kernel: "head-int8", ok: true },
  ]);
  expect(onRow.mock.calls.flat()).toEqual(rows);
  await model.dispose();
  expect(await rejection(model.selfTest())).toMatchObject({ code: "DISPOSED" });
});
