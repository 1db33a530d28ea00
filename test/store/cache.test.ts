import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cache } from "../../runtime/store/cache";
import { DATABASE_NAME, DATABASE_VERSION } from "../../runtime/store/schema";
import { openStore } from "../../runtime/store/store";

const record = (url: string, lastUsedAt: number, shardHashes: string[]) => ({
  url,
  name: url.split("/").pop()!,
  index: { metadata: { total_size: 0 }, weight_map: {}, shards: [] },
  files: { config: {} },
  shardHashes,
  storedAt: 1,
  lastUsedAt,
  complete: false,
});

beforeEach(async () => {
  vi.stubGlobal("indexedDB", new IDBFactory());
  const store = await openStore();
  for (const [sha256, size] of [
    ["a", 10],
    ["b", 20],
    ["c", 30],
  ] as const)
    await store.putShard(sha256, new ArrayBuffer(size));
  await store.putModel(record("https://x.test/arriving", 2, ["c", "missing"]));
  await store.commitModel(record("https://x.test/old", 1, ["a", "b"]));
  await store.commitModel(record("https://x.test/new", 3, ["b"]));
  await store.close();
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("cache", () => {
  it("lists the models, the latest used first, with the bytes that are here", async () => {
    expect(await cache.list()).toEqual([
      { url: "https://x.test/new", name: "new", bytes: 20, lastUsedAt: 3, complete: true },
      { url: "https://x.test/arriving", name: "arriving", bytes: 30, lastUsedAt: 2, complete: false },
      { url: "https://x.test/old", name: "old", bytes: 30, lastUsedAt: 1, complete: true },
    ]);
  });

  it("counts shared shards once in the size", async () => {
    expect(await cache.size()).toBe(60);
  });

  it("deletes a model, however its URL is written, and only the shards that it alone used", async () => {
    await cache.delete("https://x.test/old/#top");
    expect((await cache.list()).map((model) => model.name)).toEqual(["new", "arriving"]);
    expect(await cache.size()).toBe(50);
    await cache.delete("https://x.test/never-stored");
    expect(await cache.size()).toBe(50);
    await expect(cache.delete("no url")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("resolves a relative path against the page", async () => {
    vi.stubGlobal("location", { href: "https://x.test/demo.html" });
    await cache.delete("/old");
    expect((await cache.list()).map((model) => model.name)).toEqual(["new", "arriving"]);
  });

  it("clears everything", async () => {
    await cache.clear();
    expect(await cache.list()).toEqual([]);
    expect(await cache.size()).toBe(0);
  });

  it("asks for persistence where the browser can be asked", async () => {
    vi.stubGlobal("navigator", {});
    expect(await cache.persist()).toBe(false);
    vi.stubGlobal("navigator", { storage: { persist: async () => true } });
    expect(await cache.persist()).toBe(true);
  });

  it("leaves no connection behind that would block an upgrade", async () => {
    await cache.size();
    const blocked = vi.fn();
    const request = indexedDB.open(DATABASE_NAME, DATABASE_VERSION + 1);
    request.onblocked = blocked;
    await new Promise((resolve) => {
      request.onsuccess = resolve;
    });
    expect(blocked).not.toHaveBeenCalled();
    request.result.close();
  });
});
