/** The SDK from its sources in a real page: worker, GPU, IndexedDB and network, with a model small enough for logic. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type LoadProgress, type Model, Ochre } from "../../runtime/index";

const TINY = new URL("/.cache/tiny-llama", location.href).href;
const FLIPPED = new URL("/.cache/tiny-llama-flipped", location.href).href;
const WINDOW = 256;

it("finds this browser fit", async () => {
  expect(await Ochre.isSupported()).toEqual({ supported: true });
});

describe("Ochre.load", () => {
  const models: Model[] = [];
  const load: typeof Ochre.load = async (source, options) => {
    const model = await Ochre.load(source, options);
    models.push(model);
    return model;
  };

  beforeEach(() => Ochre.cache.clear());
  afterEach(async () => {
    await Promise.all(models.splice(0).map((model) => model.dispose()));
  });

  it("reports progress that never runs back, and takes the second visit's shards from the store", async () => {
    const seen: LoadProgress[] = [];
    const model = await load(TINY, { onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)).toMatchObject({ phase: "ready", loaded: seen.at(-1)?.total });
    expect(seen.map(({ loaded }) => loaded)).toEqual(seen.map(({ loaded }) => loaded).sort((a, b) => a - b));
    expect(model.info).toMatchObject({ name: "tiny-llama", family: "llama", layers: 3, vocabulary: 512, fromCache: false });
    const { choice, source, tunedMs } = model.info.kernels;
    // A GPU is tuned, now or in an earlier load; a software adapter is not.
    expect(source === "prior" && tunedMs === undefined).toBe(choice.software);
    expect(await Ochre.cache.list()).toMatchObject([{ url: TINY, complete: true }]);
    expect((await load(TINY)).info.fromCache).toBe(true);
  });

  it("refuses a shard with one flipped bit and keeps nothing of it", async () => {
    await expect(load(FLIPPED)).rejects.toMatchObject({ name: "OchreError", code: "CHECKSUM" });
    expect((await Ochre.cache.list()).filter(({ complete }) => complete)).toEqual([]);
    // What was stored of it must not pass for the whole the next time.
    await expect(load(FLIPPED)).rejects.toMatchObject({ code: "CHECKSUM" });
  });

  it("says so when there is no model at an address", async () => {
    await expect(load(new URL("/.cache/no-such-model", location.href).href)).rejects.toMatchObject({ name: "OchreError" });
    expect(await Ochre.cache.list()).toEqual([]);
  });

  it("rejects with the signal's own reason", async () => {
    const controller = new AbortController();
    const reason = new Error("the visitor left");
    await expect(load(TINY, { signal: controller.signal, onProgress: () => controller.abort(reason) })).rejects.toBe(reason);
  });

  it("stores nothing when told so", async () => {
    await load(TINY, { cache: false });
    expect(await Ochre.cache.list()).toEqual([]);
  });
});

describe("a session", () => {
  let model: Model;
  beforeAll(async () => {
    model = await Ochre.load(TINY, { contextTokens: WINDOW });
  });
  afterAll(() => model.dispose());

  it("streams what it then repeats, on a cache and without", async () => {
    const greedy = { maxTokens: 24 };
    const session = await model.createSession();
    const pieces: string[] = [];
    for await (const piece of session.promptStreaming("Say something.", greedy)) pieces.push(piece);
    const again = await model.createSession();
    expect(await again.prompt("Say something.", greedy)).toBe(pieces.join(""));
    expect(session.lastMetrics).toMatchObject({ cachedTokens: 0 });
    expect(session.contextUsage).toBe(again.contextUsage);

    // Another turn reuses the first one's cache, and a session without that cache says the same.
    const second = await session.prompt("And now?", greedy);
    expect(session.lastMetrics?.cachedTokens).toBeGreaterThan(0);
    const replayed = await model.createSession();
    const transcript = [
      { role: "user", content: "Say something." },
      { role: "assistant", content: pieces.join("") },
      { role: "user", content: "And now?" },
    ] as const;
    expect(await replayed.prompt([...transcript], greedy)).toBe(second);
  });

  it("goes on at other bits with the cache it has, and comes back to the same", async () => {
    const greedy = { maxTokens: 24 };
    const first = await (await model.createSession()).prompt("Say something.", greedy);
    const { averageBits, weightBytes } = model.info;
    const session = await model.createSession();
    await session.prompt("Say something.", { maxTokens: 4 });
    const { linears, hostMs } = await model.setBits({ "*": 2 });
    expect(linears).toBe(7 * model.info.layers);
    expect(hostMs).toBeGreaterThan(0);
    expect(model.info.averageBits).toBeLessThan(averageBits - 1);
    expect(model.info.bits["model.layers.0.mlp.down_proj"]).toBe(2);
    // On software adapters weights stay bytes.
    if (!model.info.kernels.choice.software) expect(model.info.weightBytes).toBeLessThan(weightBytes);
    await session.prompt("And now?", greedy);
    expect(session.lastMetrics?.cachedTokens).toBeGreaterThan(0);
    expect(await (await model.createSession()).prompt("Say something.", greedy)).not.toBe(first);
    await model.setBits({ "*": 4 });
    expect(model.info).toMatchObject({ averageBits, weightBytes });
    expect(await (await model.createSession()).prompt("Say something.", greedy)).toBe(first);
    await expect(model.setBits({ nothing: 2 })).rejects.toMatchObject({ name: "OchreError", code: "INVALID_ARGUMENT" });
  });

  it("samples the same text from the same seed", async () => {
    const options = { maxTokens: 24, temperature: 1.5, topK: 50, topP: 0.95, seed: 42 };
    const [first, second] = await Promise.all([model.createSession(), model.createSession()]);
    const text = await first.prompt("Roll the dice.", options);
    expect(await second.prompt("Roll the dice.", options)).toBe(text);
    expect(first.lastMetrics?.seed).toBe(42);
    const other = await model.createSession();
    expect(await other.prompt("Roll the dice.", { ...options, seed: 43 })).not.toBe(text);
  });

  it("stops at an abort with the signal's reason and goes on afterwards as if nothing had been asked", async () => {
    const session = await model.createSession();
    const controller = new AbortController();
    const reason = new Error("enough");
    const reading = (async () => {
      for await (const _ of session.promptStreaming("Go on and on.", { signal: controller.signal, maxTokens: 400 })) {
        controller.abort(reason);
      }
    })();
    await expect(reading).rejects.toBe(reason);
    expect(session.contextUsage).toBe(0);
    const fresh = await model.createSession();
    expect(await session.prompt("Hello.", { maxTokens: 8 })).toBe(await fresh.prompt("Hello.", { maxTokens: 8 }));
  });

  it("refuses a prompt beyond its window", async () => {
    const session = await model.createSession();
    await expect(session.prompt("a".repeat(WINDOW))).rejects.toMatchObject({ code: "CONTEXT_FULL", details: { quota: WINDOW } });
    expect(await session.prompt("Short.", { maxTokens: 4 })).toEqual(expect.any(String));
  });

  it("is gone after destroy, and the model after dispose", async () => {
    const session = await model.createSession();
    session.destroy();
    await expect(session.prompt("Hello?")).rejects.toMatchObject({ code: "DISPOSED" });
    await model.dispose();
    await expect(model.createSession()).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
