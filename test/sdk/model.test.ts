import { afterEach, describe, expect, it, vi } from "vitest";
import { OchreError } from "../../runtime/errors";
import { loadModel } from "../../runtime/sdk/model";
import type { LoadProgress } from "../../runtime/sdk/types";
import { FakeEngine } from "./fake-engine";
import { fakeParts, gate, loadFake, rejection, spawnCompiler, spawnWorker, ticks } from "./wire";

const URL_OF_MODEL = "https://example.test/models/fake";

afterEach(() => vi.unstubAllGlobals());

describe("load", () => {
  it("tells what the model is", async () => {
    const { model } = await loadFake({ contextTokens: 64 });
    expect(model.info).toEqual({
      name: "fake",
      family: "llama",
      layers: 2,
      // 2000 x 8 embedding, per layer 8 x 4 x 6 attention, 3 x 8 x 16 MLP and 16 norms, 8 final norm
      parameters: 16000 + 2 * (192 + 384 + 16) + 8,
      vocabulary: 2000,
      contextTokens: 64,
      averageBits: 8000 / 17192,
      bits: {},
      weightBytes: 1000,
      gpuBytes: 1000,
      gpu: { vendor: "fake", architecture: "none", description: "a script", features: ["shader-f16"], isFallback: false },
      kernels: { choice: { software: false, int8: true, f32Pairs: false, lanes: 16 }, source: "stored" },
      adapters: [],
      fromCache: false,
    });
    await model.createSession();
    expect(model.info.gpuBytes).toBe(1064);
    await model.dispose();
  });

  it("hands the page's wishes to the engine", async () => {
    const gpu = { powerPreference: "low-power", disable: ["shader-f16"] } as const;
    const { model, engine } = await loadFake({ contextTokens: 64, averageBits: 3, gpu: { ...gpu, disable: [...gpu.disable] } });
    expect(engine.request).toMatchObject({
      powerPreference: gpu.powerPreference,
      disabledFeatures: gpu.disable,
      contextTokens: 64,
      averageBits: 3,
      tune: true,
      remember: true,
    });
    await model.dispose();
  });

  it("tunes and remembers unless the page says otherwise", async () => {
    const { model, engine } = await loadFake({ cache: false, gpu: { tune: false } });
    expect(engine.request).toMatchObject({ tune: false, remember: false });
    await model.dispose();
  });

  it("reports every phase, never running back, before it resolves", async () => {
    const seen: LoadProgress[] = [];
    const { model } = await loadFake({ onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([
      { phase: "download", loaded: 0, total: 20 },
      { phase: "download", loaded: 10, total: 20, file: "model-00001-of-00001.safetensors" },
      { phase: "upload", loaded: 15, total: 20 },
      { phase: "compile", loaded: 20, total: 20 },
      { phase: "ready", loaded: 20, total: 20 },
    ]);
    await model.dispose();
  });

  it("uses the model's whole window up to 4,096 tokens, and no more than it was trained for", async () => {
    const { model } = await loadFake();
    expect(model.info.contextTokens).toBe(100);
    await model.dispose();
    const worker = spawnWorker(fakeParts(new FakeEngine()));
    expect(await rejection(loadModel(URL_OF_MODEL, { contextTokens: 101 }, () => worker, spawnCompiler))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "[load] contextTokens must be at most 100, the window that this model was trained for, but is 101.",
    });
    expect(worker.terminated).toBe(true);
  });

  it("checks its arguments before it makes a worker", async () => {
    const spawn = vi.fn(() => spawnWorker(fakeParts(new FakeEngine())));
    const untyped = loadModel as (...args: unknown[]) => Promise<unknown>;
    const load = (source: unknown, options: unknown, make: typeof spawn) => untyped(source, options, make, make);
    await expect(load(URL_OF_MODEL, { contextTokens: 0 }, spawn)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load(URL_OF_MODEL, { kv: "int3" }, spawn)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load(URL_OF_MODEL, { kv: { k: "int8" } }, spawn)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load(URL_OF_MODEL, { kv: 8 }, spawn)).rejects.toThrow(TypeError);
    await expect(load(URL_OF_MODEL, { contextTokens: "4096" }, spawn)).rejects.toThrow(TypeError);
    await expect(load(new Blob([]), {}, spawn)).rejects.toThrow(TypeError);
    const file = new File([], "a.gguf");
    await expect(load(file, { contextTokens: 0 }, spawn)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load(file, { palettize: { averageBits: 1 } }, spawn)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load(file, { palettize: { averageBits: "4" } }, spawn)).rejects.toThrow(TypeError);
    await expect(load(file, { palettize: { text: 7 } }, spawn)).rejects.toThrow(TypeError);
    await expect(load(file, { palettize: "well" }, spawn)).rejects.toThrow(TypeError);
    await expect(load(file, { signal: AbortSignal.abort("no") }, spawn)).rejects.toBe("no");
    await expect(load(URL_OF_MODEL, { signal: AbortSignal.abort("no") }, spawn)).rejects.toBe("no");
    expect(spawn).not.toHaveBeenCalled();
  });

  it("brings the worker's error across and ends the worker", async () => {
    const parts = fakeParts(new FakeEngine());
    parts.openModel = () => Promise.reject(new OchreError("CHECKSUM", "[download] wrong bytes", { details: { url: "u" } }));
    const worker = spawnWorker(parts);
    const error = await rejection(loadModel(URL_OF_MODEL, {}, () => worker, spawnCompiler));
    expect(error).toBeInstanceOf(OchreError);
    expect(error).toMatchObject({ code: "CHECKSUM", message: "[download] wrong bytes", details: { url: "u" } });
    expect(worker.terminated).toBe(true);
  });

  it("lets go of the caller's signal when it is done", async () => {
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    const { model } = await loadFake({ signal });
    await model.createSession({ signal });
    await ticks();
    const listeners = (spy: { mock: { calls: unknown[][] } }) => new Set(spy.mock.calls.map(([, listener]) => listener));
    expect(added.mock.calls.length).toBe(3);
    expect(listeners(removed)).toEqual(listeners(added));
    await model.dispose();
  });

  it("aborts with the signal's own reason, wherever it is", async () => {
    const parts = fakeParts(new FakeEngine());
    let workerSignal: AbortSignal | undefined;
    parts.openModel = (_request, _onProgress, signal) => {
      workerSignal = signal;
      return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    };
    const worker = spawnWorker(parts);
    const controller = new AbortController();
    const loading = loadModel(URL_OF_MODEL, { signal: controller.signal }, () => worker, spawnCompiler);
    await ticks();
    expect(workerSignal?.aborted).toBe(false);
    controller.abort();
    expect(await rejection(loading)).toBe(controller.signal.reason);
    expect(worker.terminated).toBe(true);
  });
});

describe("the end of a model", () => {
  it("dispose() ends sessions, engine and worker; then all calls say DISPOSED", async () => {
    const { model, engine, worker } = await loadFake();
    const session = await model.createSession();
    const { closed, open } = gate();
    engine.beforeBatch = () => closed;
    const running = rejection(session.prompt("Hi"));
    await ticks();
    const disposing = model.dispose();
    expect(await running).toMatchObject({ name: "AbortError" });
    await disposing;
    open();
    expect(engine.disposed).toBe(true);
    expect(worker.terminated).toBe(true);
    expect(await rejection(session.prompt("Hi"))).toMatchObject({ code: "DISPOSED" });
    expect(await rejection(model.createSession())).toMatchObject({
      code: "DISPOSED",
      message: "[createSession] a model cannot be used after dispose().",
    });
    await model.dispose();
    const outcome = await Promise.race([model.lost, ticks(30).then(() => "still pending")]);
    expect(outcome).toBe("still pending");
  });

  it("can be left to `using`", async () => {
    const { model, engine, worker } = await loadFake();
    {
      await using held = model;
      using session = await held.createSession();
      await session.prompt("Hi");
    }
    expect([engine.disposed, worker.terminated]).toEqual([true, true]);
  });

  it("a lost device rejects what runs, what waits and what comes with GPU_LOST, and `lost` resolves", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    const { closed, open } = gate();
    engine.beforeBatch = async () => {
      await closed;
      throw new Error("what a driver says when it goes");
    };
    const running = rejection(session.prompt("a"));
    const waiting = rejection(session.prompt("b"));
    await ticks();
    expect(engine.busy).toBe(1);
    engine.loseDevice({ reason: "unknown", message: "the driver was reset." });
    await ticks(0);
    open();
    expect(await model.lost).toEqual({ reason: "unknown", message: "the driver was reset." });
    const lost = {
      code: "GPU_LOST",
      details: { reason: "unknown" },
      message:
        "[model] the GPU device was lost (unknown): the driver was reset. Load the model again; its files are still stored.",
    };
    expect(await running).toMatchObject(lost);
    expect(await waiting).toMatchObject(lost);
    expect(await rejection(session.prompt("c"))).toMatchObject(lost);
    expect(await rejection(model.createSession())).toMatchObject(lost);
    await model.dispose();
  });

  it("a crashed worker rejects what is pending with INTERNAL, and `lost` resolves", async () => {
    const { model, engine, worker } = await loadFake();
    const session = await model.createSession();
    engine.beforeBatch = () => new Promise(() => {});
    const running = rejection(session.prompt("a"));
    await ticks();
    worker.crash("out of memory");
    const crash = { code: "INTERNAL", message: "[worker] the worker stopped: out of memory" };
    expect(await running).toMatchObject(crash);
    expect(await model.lost).toEqual({ reason: "worker", message: crash.message });
    expect(await rejection(session.prompt("b"))).toMatchObject(crash);
    expect(await rejection(model.createSession())).toMatchObject(crash);
    session.destroy();
    await model.dispose();
  });

  it("passes an error of the engine on without harm to the conversation", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    engine.beforeBatch = () => Promise.reject(new OchreError("GPU_MEMORY", "[engine] no room", { details: { bytes: 5 } }));
    expect(await rejection(session.prompt("Hi"))).toMatchObject({ code: "GPU_MEMORY", details: { bytes: 5 } });
    engine.beforeBatch = () => Promise.resolve();
    expect(await session.prompt("Hi")).toBe("…");
    expect(session.contextUsage).toBe(7);
    await model.dispose();
  });
});
