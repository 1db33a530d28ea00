import { afterEach, describe, expect, it, vi } from "vitest";
import type { Metrics } from "../../runtime/metrics";
import type { Message, PromptOptions } from "../../runtime/sdk/types";
import { collect, loadFake, rejection } from "./wire";

afterEach(() => vi.restoreAllMocks());

describe("a conversation", () => {
  it("gives the whole reply, and the same text in order as a stream", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["Hello there", "Hello there"];
    const session = await model.createSession();
    expect(await session.prompt("Hi")).toBe("Hello there");
    expect(await collect(session.promptStreaming("Hi"))).toEqual(["He", "ll", "o ", "th", "er", "e"]);
    await model.dispose();
  });

  it("delivers every piece before the stream ends, however many there are", async () => {
    const { model, engine } = await loadFake({ contextTokens: 100 });
    engine.batchTokens = 1;
    engine.script = ["x".repeat(90)];
    const session = await model.createSession();
    expect(await collect(session.promptStreaming("Hi"))).toEqual(Array(90).fill("x"));
    await model.dispose();
  });

  it("reuses the cached prefix, reply included, and runs at least the last prompt token", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["abc", "d", "e"];
    const session = await model.createSession();
    await session.prompt("one"); // [user] one END [assistant] = 6; reply abc END = 4, END sampled but not cached
    expect(session.lastMetrics).toMatchObject({ promptTokens: 6, cachedTokens: 0, generatedTokens: 4 });
    expect(session.contextUsage).toBe(10);
    await session.prompt("two"); // 10 + [user] two END [assistant]; all but the first END is new
    expect(session.lastMetrics).toMatchObject({ promptTokens: 16, cachedTokens: 9 });
    expect(engine.prefills).toEqual([6, 7]);
    await model.dispose();
  });

  it("runs initial prompts when the session is made", async () => {
    const { model, engine } = await loadFake();
    const initialPrompts: Message[] = [{ role: "system", content: "Be brief." }];
    const session = await model.createSession({ initialPrompts });
    expect(session.contextUsage).toBe(11);
    expect(engine.prefills).toEqual([11]);
    await session.prompt("Hi");
    expect(session.lastMetrics).toMatchObject({ cachedTokens: 11, promptTokens: 16 });
    await model.dispose();
  });

  it("appends without a reply and measures without a trace", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    expect(await session.measureContextUsage("Hi")).toBe(4);
    expect(session.contextUsage).toBe(0);
    await session.append([
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Ho" },
    ]);
    expect(session.contextUsage).toBe(8);
    expect(engine.decodes).toEqual([]);
    await session.prompt("Hm");
    expect(session.lastMetrics).toMatchObject({ cachedTokens: 8, promptTokens: 13 });
    await model.dispose();
  });

  it("allows a system message only at the start", async () => {
    const { model } = await loadFake();
    const session = await model.createSession();
    await session.prompt("Hi");
    const late = session.prompt([{ role: "system", content: "Be a pirate." }]);
    await expect(late).rejects.toThrow(TypeError);
    await expect(late).rejects.toThrow("[session] a message with role system must be the first of the conversation.");
    const second = model.createSession({
      initialPrompts: [
        { role: "user", content: "Hi" },
        { role: "system", content: "Be a pirate." },
      ],
    });
    await expect(second).rejects.toThrow(TypeError);
    await model.dispose();
  });

  it("frees the cache of a session that could not be made", async () => {
    const { model, engine } = await loadFake();
    const initialPrompts: Message[] = [{ role: "system", content: "x".repeat(200) }];
    await expect(model.createSession({ initialPrompts })).rejects.toMatchObject({ code: "CONTEXT_FULL" });
    expect(engine.sequences).toBe(0);
    await model.dispose();
  });
});

describe("the window", () => {
  it("refuses a prompt that leaves no room for one token, with the numbers, and keeps the conversation", async () => {
    const { model, engine } = await loadFake({ contextTokens: 20 });
    const session = await model.createSession();
    expect(session.contextWindow).toBe(20);
    // [user] 17 characters END [assistant] = 20
    expect(await rejection(session.prompt("x".repeat(17)))).toMatchObject({
      name: "OchreError",
      code: "CONTEXT_FULL",
      details: { requested: 21, quota: 20 },
      message:
        "[session] the conversation must fit in 20 tokens but needs 21. Start a new session, shorten the prompt, or load the model with more contextTokens.",
    });
    expect(session.contextUsage).toBe(0);
    expect(engine.prefills).toEqual([]);
    engine.script = ["abc"];
    expect(await session.prompt("x".repeat(16))).toBe("a");
    expect(await rejection(session.append("Hi"))).toMatchObject({ code: "CONTEXT_FULL", details: { quota: 20 } });
    await model.dispose();
  });

  it("ends the reply at the window or at maxTokens", async () => {
    const { model, engine } = await loadFake({ contextTokens: 20 });
    engine.script = ["abcdefghijklmnop", "abcdefghijklmnop"];
    const long = await model.createSession();
    expect(await long.prompt("Hi")).toBe("abcdefghijklmno");
    expect(engine.decodes[0].maxTokens).toBe(15);
    const short = await model.createSession();
    expect(await short.prompt("Hi", { maxTokens: 3 })).toBe("abc");
    expect(short.lastMetrics?.generatedTokens).toBe(3);
    await model.dispose();
  });
});

describe("sampling", () => {
  it("takes the session's options, and each prompt's over them", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession({ temperature: 0.7, topK: 40, seed: 1 });
    await session.prompt("a");
    await session.prompt("b", { temperature: 0, topP: 0.9, minP: 0.1, seed: 2, maxTokens: 1 });
    expect(engine.decodes[0]).toMatchObject({ temperature: 0.7, topK: 40, topP: 1, minP: 0, seed: 1, stopIds: [2] });
    expect(engine.decodes[1]).toMatchObject({ temperature: 0, topK: 40, topP: 0.9, minP: 0.1, seed: 2, maxTokens: 1 });
    await model.dispose();
  });

  it("is greedy by default, and draws and reports a seed", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    await session.prompt("a");
    const first = session.lastMetrics?.seed;
    await session.prompt("b");
    expect(engine.decodes[0]).toMatchObject({ temperature: 0, topK: 0, topP: 1, minP: 0 });
    expect(engine.decodes.map(({ seed }) => seed)).toEqual([first, session.lastMetrics?.seed]);
    expect(first).not.toBe(session.lastMetrics?.seed);
    await model.dispose();
  });

  const wrong: [PromptOptions, string][] = [
    [{ temperature: -0.1 }, "temperature must be a finite number of at least 0 but is -0.1"],
    [{ temperature: Number.NaN }, "temperature must be a finite number of at least 0 but is NaN"],
    [{ temperature: Infinity }, "temperature must be a finite number of at least 0 but is Infinity"],
    [{ topK: 0 }, "topK must be a whole number of at least 1 but is 0"],
    [{ topK: 1.5 }, "topK must be a whole number of at least 1 but is 1.5"],
    [{ topP: 0 }, "topP must be above 0 and at most 1 but is 0"],
    [{ topP: 1.1 }, "topP must be above 0 and at most 1 but is 1.1"],
    [{ minP: 2 }, "minP must be from 0 to 1 but is 2"],
    [{ maxTokens: 0 }, "maxTokens must be a whole number of at least 1 but is 0"],
    [{ seed: -1 }, "seed must be a whole number from 0 to 4294967295 but is -1"],
  ];
  it.each(wrong)("refuses %o", async (options, message) => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    expect(await rejection(session.prompt("Hi", options))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `[prompt] ${message}.`,
      details: { name: Object.keys(options)[0] },
    });
    expect(() => session.promptStreaming("Hi", options)).toThrow(message);
    await expect(model.createSession(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(engine.decodes).toEqual([]);
    await model.dispose();
  });

  it("calls a wrong type a TypeError", async () => {
    const { model } = await loadFake();
    const session = await model.createSession();
    const untyped = session.prompt.bind(session) as (input: unknown, options?: unknown) => Promise<string>;
    await expect(untyped("Hi", { temperature: "hot" })).rejects.toThrow(TypeError);
    await expect(untyped("Hi", { signal: {} })).rejects.toThrow(TypeError);
    await expect(untyped(7)).rejects.toThrow(TypeError);
    await expect(untyped([{ role: "robot", content: "" }])).rejects.toThrow("[prompt] message 0 must have role");
    await expect(untyped([{ role: "user", content: ["Hi"] }])).rejects.toThrow(TypeError);
    await expect(untyped([null])).rejects.toThrow(TypeError);
    await expect(untyped([])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await model.dispose();
  });
});

describe("speculation", () => {
  it("is left to what pays unless a prompt says so, and counted", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    for (const speculate of [undefined, true, false]) await session.prompt("a", { speculate });
    expect(engine.decodes.map(({ speculate }) => speculate)).toEqual(["auto", "always", "never"]);
    expect(session.lastMetrics).toMatchObject({ draftedTokens: 0, acceptedTokens: 0 });
    engine.script = ["abc"]; // and the end: two batches of two
    await session.prompt("a", { speculate: true });
    expect(session.lastMetrics).toMatchObject({ draftedTokens: 6, acceptedTokens: 2 });
    await expect(session.prompt("a", { speculate: "yes" as unknown as boolean })).rejects.toThrow(TypeError);
    await model.dispose();
  });
});

describe("metrics", () => {
  it("come with every reply, to the prompt's handler and the session's, before the reply ends", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["abcd"];
    const session = await model.createSession();
    const seen: [string, Metrics][] = [];
    session.onmetrics = (metrics) => seen.push(["session", metrics]);
    expect(session.lastMetrics).toBeUndefined();
    const reply = session.prompt("Hi", { seed: 7, onmetrics: (metrics) => seen.push(["prompt", metrics]) });
    await reply.then(() => expect(seen.map(([who]) => who)).toEqual(["prompt", "session"]));
    expect(seen[0][1]).toBe(session.lastMetrics);
    expect(session.lastMetrics).toEqual({
      promptTokens: 5,
      cachedTokens: 0,
      generatedTokens: 5,
      ttftMs: expect.any(Number),
      prefillTokensPerSecond: expect.any(Number),
      prefillMsPerToken: expect.any(Number),
      decodeTokensPerSecond: expect.any(Number),
      itlMs: { p50: expect.any(Number), p95: expect.any(Number) },
      loadMs: { download: 1, verify: 2, upload: 3, compile: 4 },
      gpu: { vendor: "fake", architecture: "none", features: ["shader-f16"] },
      kvBytes: 100,
      weightBytes: 1000,
      bytesPerToken: 1009,
      draftedTokens: 0,
      acceptedTokens: 0,
      adapter: null,
      seed: 7,
    });
    const { ttftMs = 0, prefillMsPerToken = 0 } = session.lastMetrics ?? {};
    expect(ttftMs).toBeGreaterThan(5 * prefillMsPerToken);
    expect(ttftMs).toBeLessThan(5000);
    await model.dispose();
  });
});

describe("order", () => {
  it("queues the calls of one session", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["one", "two", "three"];
    const session = await model.createSession();
    const replies = await Promise.all([session.prompt("a"), session.prompt("b"), session.append("c"), session.prompt("d")]);
    expect(replies).toEqual(["one", "two", undefined, "three"]);
    expect(engine.prefills).toEqual([4, 5, 4, 4]);
    await model.dispose();
  });

  it("takes sessions in turn on one device, each with its own conversation", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["a1", "b1", "a2", "b2"];
    const [a, b] = [await model.createSession(), await model.createSession()];
    const replies = await Promise.all([a.prompt("x"), b.prompt("yy"), a.prompt("x"), b.prompt("yy")]);
    expect(replies).toEqual(["a1", "b1", "a2", "b2"]);
    expect([a.contextUsage, b.contextUsage]).toEqual([14, 16]);
    expect(a.lastMetrics?.cachedTokens).toBe(6);
    expect(b.lastMetrics?.cachedTokens).toBe(7);
    await model.dispose();
  });

  it("lets a handler that throws break nothing", async () => {
    const { model } = await loadFake();
    const session = await model.createSession();
    const thrown: unknown[] = [];
    vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    session.onmetrics = () => {
      throw new Error("the page's own");
    };
    expect(await session.prompt("Hi")).toBe("…");
    expect(thrown).toEqual([new Error("the page's own")]);
    await model.dispose();
  });
});
