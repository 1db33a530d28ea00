import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { deleteDB, type IDBPDatabase, openDB } from "idb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DATABASE_NAME, DATABASE_VERSION, type ModelRecord } from "../../runtime/store/schema";
import { openStore } from "../../runtime/store/store";

// Real calls, watched: a test can see the callbacks that were registered, or play a browser that makes an open wait.
vi.mock("idb", { spy: true });

beforeEach(() => vi.stubGlobal("indexedDB", new IDBFactory()));
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const record = (url: string, shardHashes: string[]): ModelRecord => ({
  url,
  name: "m",
  index: { metadata: { total_size: 0 }, weight_map: {}, shards: [] },
  files: { config: {} },
  shardHashes,
  storedAt: 1,
  lastUsedAt: 1,
  complete: false,
});
const bytes = (length: number): ArrayBuffer => new Uint8Array(length).fill(length).buffer;

describe("openStore", () => {
  it("is STORE_BLOCKED without IndexedDB", async () => {
    vi.stubGlobal("indexedDB", undefined);
    await expect(openStore()).rejects.toMatchObject({ code: "STORE_BLOCKED", message: expect.stringContaining("cache: false") });
  });

  it("is STORE_BLOCKED where the browser refuses", async () => {
    vi.spyOn(indexedDB, "open").mockImplementation(() => {
      throw new DOMException("The operation is insecure.", "SecurityError");
    });
    await expect(openStore()).rejects.toMatchObject({
      code: "STORE_BLOCKED",
      message: expect.stringContaining("The operation is insecure."),
    });
  });

  it("is STORE_BLOCKED where a newer Ochre upgraded the database", async () => {
    const newer = await openDB(DATABASE_NAME, DATABASE_VERSION + 1);
    await expect(openStore()).rejects.toMatchObject({
      code: "STORE_BLOCKED",
      message: expect.stringContaining("a newer Ochre has upgraded it"),
    });
    newer.close();
  });

  it("is STORE_BLOCKED where another tab holds an older database open", async () => {
    vi.useFakeTimers();
    const close = vi.fn();
    let letGo = () => {};
    vi.mocked(openDB).mockImplementationOnce(async (_name, _version, callbacks) => {
      callbacks?.blocked?.(0, 1, new Event("blocked") as IDBVersionChangeEvent);
      await new Promise<void>((resolve) => {
        letGo = resolve;
      });
      return { close } as unknown as IDBPDatabase;
    });
    const opening = expect(openStore()).rejects.toMatchObject({
      code: "STORE_BLOCKED",
      message: expect.stringContaining("Close this site's other tabs"),
    });
    await vi.advanceTimersByTimeAsync(3000);
    await opening;
    letGo();
    await vi.waitFor(() => expect(close).toHaveBeenCalled());
  });

  it("waits for a tab that lets go at once", async () => {
    const close = vi.fn();
    vi.mocked(openDB).mockImplementationOnce(async (_name, _version, callbacks) => {
      callbacks?.blocked?.(0, 1, new Event("blocked") as IDBVersionChangeEvent);
      return { close } as unknown as IDBPDatabase;
    });
    await (await openStore()).close();
  });
});

describe("the connection", () => {
  it("gives way to another tab's upgrade", async () => {
    const store = await openStore();
    await store.putShard("a", bytes(3));
    const newer = await openDB(DATABASE_NAME, DATABASE_VERSION + 1);
    expect([...newer.objectStoreNames]).toEqual(["adapters", "choices", "models", "shards"]);
    await expect(store.shardSizes()).rejects.toMatchObject({ code: "STORE_BLOCKED" });
    newer.close();
  });

  it("opens again after it was given up", async () => {
    const store = await openStore();
    await store.putShard("a", bytes(3));
    await deleteDB(DATABASE_NAME);
    expect(await store.shardSizes()).toEqual(new Map());
    await store.close();
    await store.putShard("b", bytes(4));
    expect(await store.shardSizes()).toEqual(new Map([["b", 4]]));
    await store.close();
  });

  it("opens again after the browser cut it", async () => {
    vi.mocked(openDB).mockClear();
    const store = await openStore();
    await store.putShard("a", bytes(3));
    vi.mocked(openDB).mock.calls[0][2]?.terminated?.();
    expect(await store.shardSizes()).toEqual(new Map([["a", 3]]));
    expect(openDB).toHaveBeenCalledTimes(2);
    await store.close();
  });

  it("says what failed where the database breaks", async () => {
    const store = await openStore();
    vi.spyOn(IDBObjectStore.prototype, "get").mockImplementation(() => {
      throw new DOMException("Internal error.", "UnknownError");
    });
    await expect(store.getShard("a")).rejects.toMatchObject({
      code: "STORE_BLOCKED",
      message: expect.stringContaining("could not read a shard: Internal error."),
    });
    await store.close();
  });
});

describe("shards and records", () => {
  it("come back as they were put", async () => {
    const store = await openStore();
    await store.putShard("a", bytes(5));
    await store.putModel(record("https://x.test/m", ["a"]));
    expect(new Uint8Array((await store.getShard("a"))!)).toEqual(new Uint8Array(bytes(5)));
    expect(await store.getShard("b")).toBeUndefined();
    expect(await store.getModel("https://x.test/m")).toEqual(record("https://x.test/m", ["a"]));
    expect(await store.getModel("https://x.test/other")).toBeUndefined();
    expect([...store.verified]).toEqual(["a"]);
    await store.close();
  });

  it("sweep what no record names when a model is committed or deleted", async () => {
    const store = await openStore();
    for (const [i, sha256] of ["a", "b", "c", "d"].entries()) await store.putShard(sha256, bytes(i + 1));
    await store.putModel(record("https://x.test/arriving", ["a", "b"]));
    await store.commitModel(record("https://x.test/m", ["b", "c"]));
    expect(await store.shardSizes()).toEqual(new Map(Object.entries({ a: 1, b: 2, c: 3 })));
    expect((await store.getModel("https://x.test/m"))?.complete).toBe(true);
    await store.deleteModel("https://x.test/m");
    expect(await store.shardSizes()).toEqual(new Map(Object.entries({ a: 1, b: 2 })));
    await store.clear();
    expect(await store.shardSizes()).toEqual(new Map());
    expect(await store.listModels()).toEqual([]);
    await store.close();
  });

  it("are all kept where the sweep fails: a change is whole or not at all", async () => {
    const store = await openStore();
    await store.putShard("a", bytes(1));
    await store.putShard("b", bytes(2));
    await store.commitModel(record("https://x.test/m", ["a", "b"]));
    vi.spyOn(IDBObjectStore.prototype, "getAllKeys").mockImplementation(function (this: IDBObjectStore) {
      this.transaction.abort();
      throw new DOMException("full", "QuotaExceededError");
    });
    await expect(store.commitModel(record("https://x.test/m", ["a"]))).rejects.toMatchObject({ code: "STORE_QUOTA" });
    expect((await store.getModel("https://x.test/m"))?.shardHashes).toEqual(["a", "b"]);
    expect((await store.shardSizes()).size).toBe(2);
    await store.close();
  });
});

describe("STORE_QUOTA", () => {
  it("leaves out the numbers that the browser does not give", async () => {
    vi.stubGlobal("navigator", {});
    const store = await openStore();
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    await expect(store.putShard("a", bytes(2e6))).rejects.toMatchObject({
      code: "STORE_QUOTA",
      message: expect.stringContaining("room for 2.0 MB more but the browser grants no more"),
      details: { neededBytes: 2e6, usageBytes: undefined, quotaBytes: undefined },
    });
    expect(store.verified.size).toBe(0);
    await store.close();
  });
});
