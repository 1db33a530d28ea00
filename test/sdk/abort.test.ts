/** How calls end before their time: aborted by a signal or a reader, or with their session. */
import { describe, expect, it } from "vitest";
import { collect, gate, loadFake, rejection, ticks } from "./wire";

describe("abort", () => {
  it("before the call: nothing is sent, and the reason is the signal's own", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    const reason = { my: "reason" };
    const signal = AbortSignal.abort(reason);
    expect(await rejection(session.prompt("Hi", { signal }))).toBe(reason);
    expect(await rejection(collect(session.promptStreaming("Hi", { signal })))).toBe(reason);
    expect(await rejection(session.append("Hi", { signal }))).toBe(reason);
    expect(await rejection(model.createSession({ signal }))).toBe(reason);
    await ticks();
    expect(engine.prefills).toEqual([]);
    await model.dispose();
  });

  it("in mid-reply: the running prompt leaves the transcript, and the cache stays of use", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["first", "abcdefghij", "third"];
    const session = await model.createSession();
    await session.prompt("one");
    const usage = session.contextUsage;
    const controller = new AbortController();
    const pieces: string[] = [];
    const reading = (async () => {
      for await (const piece of session.promptStreaming("two", { signal: controller.signal })) {
        pieces.push(piece);
        if (pieces.length === 2) controller.abort();
      }
    })();
    expect(await rejection(reading)).toBe(controller.signal.reason);
    expect(pieces.slice(0, 2)).toEqual(["ab", "cd"]);
    expect(session.contextUsage).toBe(usage);
    expect(await session.prompt("two")).toBe("third");
    // The same prompt again: all of it but the last token was still cached.
    expect(session.lastMetrics).toMatchObject({ promptTokens: 18, cachedTokens: 17 });
    expect(session.contextUsage).toBe(24);
    await model.dispose();
  });

  it("while it waits: the call leaves the queue at once", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["first", "second"];
    const session = await model.createSession();
    const { closed, open } = gate();
    engine.beforeBatch = () => closed;
    const first = session.prompt("a");
    const controller = new AbortController();
    const waiting = session.prompt("b", { signal: controller.signal });
    const last = session.prompt("c");
    await ticks();
    controller.abort(new Error("too slow"));
    expect(await rejection(waiting)).toEqual(new Error("too slow"));
    expect(engine.busy).toBe(1);
    open();
    expect(await Promise.all([first, last])).toEqual(["first", "second"]);
    expect(engine.decodes.length).toBe(2);
    await model.dispose();
  });

  it("after the reply: changes nothing", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["first"];
    const session = await model.createSession();
    const controller = new AbortController();
    expect(await session.prompt("Hi", { signal: controller.signal })).toBe("first");
    controller.abort();
    await ticks();
    expect(session.contextUsage).toBe(11);
    await model.dispose();
  });

  it("of the append that makes a session: no session, no cache", async () => {
    const { model, engine } = await loadFake();
    const { closed, open } = gate();
    engine.beforeBatch = () => closed;
    const controller = new AbortController();
    const creating = model.createSession({ initialPrompts: [{ role: "user", content: "Hi" }], signal: controller.signal });
    await ticks();
    controller.abort();
    open();
    expect(await rejection(creating)).toBe(controller.signal.reason);
    await ticks();
    expect(engine.sequences).toBe(0);
    await model.dispose();
  });

  it("comes from the reader too: cancel() or an early exit stops generation", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["abcdefghijklmnop", "abcdefghijklmnop", "third"];
    const session = await model.createSession();
    for await (const piece of session.promptStreaming("Hi")) {
      expect(piece).toBe("ab");
      break;
    }
    const reader = session.promptStreaming("Hi").getReader();
    expect(await reader.read()).toEqual({ done: false, value: "ab" });
    await reader.cancel();
    expect(await session.prompt("Hi")).toBe("third");
    expect(session.contextUsage).toBe(11);
    expect(engine.decodes.slice(0, 2).every(({ signal }) => signal?.aborted)).toBe(true);
    await model.dispose();
  });
});

describe("destroy", () => {
  it("rejects what runs with an AbortError, then everything with DISPOSED, and frees the cache", async () => {
    const { model, engine } = await loadFake();
    engine.script = ["abcdefgh", "other"];
    const session = await model.createSession();
    const other = await model.createSession();
    const { closed, open } = gate();
    engine.beforeBatch = () => closed;
    const running = rejection(session.prompt("Hi"));
    const queued = rejection(collect(session.promptStreaming("Ho")));
    const unharmed = other.prompt("Hm");
    await ticks();
    session.destroy();
    session.destroy();
    for (const error of [await running, await queued]) {
      expect(error).toBeInstanceOf(DOMException);
      expect(error).toMatchObject({ name: "AbortError", message: "The session was destroyed." });
    }
    open();
    expect(await rejection(session.prompt("Hi"))).toMatchObject({
      code: "DISPOSED",
      message: "[prompt] a session cannot be used after destroy().",
    });
    expect(() => session.promptStreaming("Hi")).toThrow("after destroy()");
    expect(await rejection(session.append("Hi"))).toMatchObject({ code: "DISPOSED" });
    expect(await rejection(session.measureContextUsage("Hi"))).toMatchObject({ code: "DISPOSED" });
    await unharmed;
    await ticks();
    expect(engine.sequences).toBe(1);
    expect(model.info.gpuBytes).toBe(1100);
    await model.dispose();
  });
});

describe("a browser whose streams are not iterable", () => {
  it("gets an iterator, with cancel on early exit", async () => {
    const prototype = ReadableStream.prototype as { [Symbol.asyncIterator]?: unknown };
    const native = Object.getOwnPropertyDescriptor(prototype, Symbol.asyncIterator) as PropertyDescriptor;
    delete prototype[Symbol.asyncIterator];
    const { model, engine } = await loadFake();
    try {
      engine.script = ["abcd", "abcdefgh", "end"];
      const session = await model.createSession();
      expect(await collect(session.promptStreaming("Hi"))).toEqual(["ab", "cd"]);
      for await (const _ of session.promptStreaming("Hi")) break;
      expect(await session.prompt("Hi")).toBe("end");
      expect(engine.decodes[1].signal?.aborted).toBe(true);
      const controller = new AbortController();
      const failing = session.promptStreaming("Hi", { signal: controller.signal });
      controller.abort();
      expect(await rejection(collect(failing))).toBe(controller.signal.reason);
    } finally {
      Object.defineProperty(prototype, Symbol.asyncIterator, native);
    }
    await model.dispose();
  });
});
