import "fake-indexeddb/auto";
import { afterEach, describe, expect, it, vi } from "vitest";
import packageJson from "../../package.json";
import { Ochre, OchreError } from "../../runtime/index";
import { openStore } from "../../runtime/store/store";
import { FakeEngine } from "./fake-engine";
import { fakeParts, spawnWorker } from "./wire";

afterEach(() => vi.unstubAllGlobals());

describe("Ochre", () => {
  it("loads a model in a worker of its own and talks to it", async () => {
    // A constructor that returns an object gives out that object.
    vi.stubGlobal("Worker", function FakeWorker() {
      return spawnWorker(fakeParts(new FakeEngine()));
    });
    const model = await Ochre.load("https://example.test/models/fake");
    const session = await model.createSession();
    expect(await session.prompt("Hi")).toBe("…");
    await model.dispose();
  });

  it("knows its version", () => {
    expect(Ochre.version).toBe(packageJson.version);
  });

  it("says why it cannot run in Node", async () => {
    expect(await Ochre.isSupported()).toMatchObject({ supported: false, reason: expect.stringContaining("secure") });
    vi.stubGlobal("isSecureContext", true);
    vi.stubGlobal("navigator", { gpu: { requestAdapter: async () => ({}) } });
    expect(await Ochre.isSupported()).toEqual({ supported: true });
  });

  it("forgets a stored model by what it was loaded from", async () => {
    const store = await openStore();
    await store.putModel({
      url: "https://huggingface.co/org/name/resolve/main",
      name: "org/name",
      index: { metadata: { total_size: 0 }, weight_map: {}, shards: [] },
      files: { config: {} },
      shardHashes: [],
      storedAt: 1,
      lastUsedAt: 1,
      complete: true,
    });
    await store.close();
    expect(await Ochre.cache.list()).toMatchObject([{ name: "org/name" }]);
    await Ochre.cache.delete("org/name");
    expect(await Ochre.cache.list()).toEqual([]);
  });

  it("is a global for classic scripts, with the error class on it", async () => {
    await import("../../runtime/script-tag");
    const { Ochre: global } = globalThis as unknown as { Ochre: typeof Ochre & { OchreError: typeof OchreError } };
    expect(global).toEqual({ ...Ochre, OchreError });
  });
});
