import { describe, expect, it } from "vitest";
import type { ModelConfig } from "../../runtime/engine/config";
import { writePeft } from "../../runtime/formats/peft";
import { openAdapter } from "../../runtime/worker/open-adapter";
import { randomAdapter } from "../formats/peft-adapter";
import { config, FakeEngine } from "./fake-engine";
import { adaptersOpened, fakeParts, gate, loadFake, rejection, ticks } from "./wire";

const PLACE = "https://example.test/models/fake";

describe("loading", () => {
  it("finds an adapter by a name in the model's folder, or by a URL", async () => {
    const { model } = await loadFake();
    expect(await model.loadAdapter("pirate")).toEqual({ name: "pirate", rank: 4, bytes: 50, weight: 1 });
    await model.loadAdapter("https://other.test/adapters/json/", { weight: 0.5 });
    await model.loadAdapter("pirate", { name: "again" });
    expect(adaptersOpened.slice(-3)).toEqual([
      `${PLACE}/adapters/pirate`,
      "https://other.test/adapters/json",
      `${PLACE}/adapters/pirate`,
    ]);
    expect(model.adapters.map(({ name, weight }) => [name, weight])).toEqual([
      ["pirate", 1],
      ["json", 0.5],
      ["again", 1],
    ]);
    expect(model.info.gpuBytes).toBe(1150);
    expect(await rejection(model.loadAdapter("pirate"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await rejection(model.loadAdapter("x", { weight: Number.NaN }))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(await rejection(model.loadAdapter("x", { weight: "1" as unknown as number }))).toBeInstanceOf(TypeError);
    await model.dispose();
    expect(await rejection(model.loadAdapter("x"))).toMatchObject({ code: "DISPOSED" });
  });

  it("goes on beside a reply, and can be aborted", async () => {
    const { model, engine } = await loadFake();
    const session = await model.createSession();
    const { closed, open } = gate();
    engine.beforeBatch = () => closed;
    const reply = session.prompt("Hi");
    const loading = model.loadAdapter("pirate");
    const controller = new AbortController();
    const aborted = rejection(model.loadAdapter("json", { signal: controller.signal }));
    await ticks();
    controller.abort();
    expect(await aborted).toBe(controller.signal.reason);
    open();
    await Promise.all([reply, loading]);
    expect(model.adapters.map(({ name }) => name)).toEqual(["pirate"]);
    await model.dispose();
  });

  it("reads the visitor's own two files", async () => {
    const { config: peft, weights } = writePeft(randomAdapter(config, 1), { base: "fake" });
    const file = (name: string, contents: BlobPart) => ({ name, lastModified: 1, contents: new Blob([contents]) });
    const files = [file("adapter_config.json", JSON.stringify(peft)), file("adapter_model.safetensors", weights)];
    const adapter = await openAdapter({ name: "own", url: "local:", cache: true, files }, config);
    expect([adapter.name, adapter.rank, adapter.linears.size]).toEqual(["own", 4, 14]);
    const wider = { ...config, D: 16 };
    await expect(openAdapter({ name: "own", url: "local:", cache: true, files }, wider)).rejects.toMatchObject({
      code: "ADAPTER_MISMATCH",
    });
    await expect(openAdapter({ name: "own", url: "local:", cache: true, files: files.slice(1) }, config)).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
    });
  });
});

describe("a session", () => {
  it("answers with the adapter that it names, and reads the conversation again after a change", async () => {
    const { model, engine } = await loadFake();
    await model.loadAdapter("pirate");
    const session = await model.createSession();
    expect(session.adapter).toBe(null);
    await session.prompt("one");
    expect(session.lastMetrics).toMatchObject({ adapter: null, cachedTokens: 0 });
    session.adapter = "pirate";
    await session.prompt("two");
    expect(session.lastMetrics).toMatchObject({ adapter: "pirate", cachedTokens: 0 });
    expect(engine.uses).toEqual(["pirate"]);
    await session.prompt("three");
    expect(session.lastMetrics!.cachedTokens).toBeGreaterThan(0);
    session.adapter = null;
    await session.prompt("four");
    expect(session.lastMetrics).toMatchObject({ adapter: null, cachedTokens: 0 });
    session.adapter = "parrot";
    expect(await rejection(session.prompt("five"))).toMatchObject({ code: "INVALID_ARGUMENT", details: { name: "parrot" } });
    expect(() => {
      session.adapter = 5 as unknown as string;
    }).toThrow(TypeError);
    await model.dispose();
  });

  it("keeps to its own where two interleave", async () => {
    const { model, engine } = await loadFake();
    await model.loadAdapter("pirate");
    await model.loadAdapter("json", { weight: 2 });
    const a = await model.createSession({ adapter: "pirate", initialPrompts: [{ role: "system", content: "Arr." }] });
    const first = engine.latestSequence!;
    const b = await model.createSession({ adapter: "json" });
    const second = engine.latestSequence!;
    await Promise.all([a.prompt("Hi"), b.prompt("Hi"), a.prompt("Ho")]);
    expect(first.uses).toEqual([{ name: "pirate", weight: 1 }]);
    expect(second.uses).toEqual([{ name: "json", weight: 2 }]);
    expect(a.lastMetrics!.cachedTokens).toBeGreaterThan(0);
    await model.dispose();
  });

  it("lets go of an adapter that is unloaded, whose memory comes back", async () => {
    const { model } = await loadFake();
    const { gpuBytes } = model.info;
    await model.loadAdapter("pirate");
    const session = await model.createSession({ adapter: "pirate" });
    await session.prompt("Hi");
    await model.unloadAdapter("pirate");
    expect(model.adapters).toEqual([]);
    expect(await rejection(session.prompt("Hi"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    session.adapter = null;
    await session.prompt("Hi");
    session.destroy();
    await ticks();
    expect(model.info.gpuBytes).toBe(gpuBytes);
    expect(await rejection(model.unloadAdapter("pirate"))).toMatchObject({ code: "INVALID_ARGUMENT" });
    await model.dispose();
  });
});

describe("a model's own adapter", () => {
  it("is loaded with it and lies under every other", async () => {
    const engine = new FakeEngine();
    const parts = fakeParts(engine);
    const openModel: typeof parts.openModel = async (...args) => ({
      ...(await parts.openModel(...args)),
      config: { ...config, quantization: { recovery: "recovery" } } as ModelConfig,
    });
    const { model } = await loadFake({}, engine, { openModel });
    expect(adaptersOpened.at(-1)).toBe(`${PLACE}/adapters/recovery`);
    expect(model.adapters.map(({ name }) => name)).toEqual(["recovery"]);
    await model.loadAdapter("pirate");
    const session = await model.createSession();
    await session.prompt("Hi");
    expect(engine.uses).toEqual(["recovery"]);
    session.adapter = "pirate";
    await session.prompt("Hi");
    expect(engine.uses).toEqual(["recovery", "pirate"]);
    await model.dispose();
  });
});
