import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { openDB } from "idb";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { choices } from "../../runtime/store/choices";
import { DATABASE_NAME } from "../../runtime/store/schema";
import { openStore } from "../../runtime/store/store";

beforeEach(() => vi.stubGlobal("indexedDB", new IDBFactory()));
afterEach(() => vi.unstubAllGlobals());

const record = { fingerprint: "f", attempts: 1, choice: { software: false, int8: true, f32Pairs: false, lanes: 16 } };

it("keeps what was put last under a key, beyond the connection and beyond the models", async () => {
  expect(await choices.get("acme|one")).toBeUndefined();
  await choices.put("acme|one", { fingerprint: "f", attempts: 1 });
  await choices.put("acme|one", record);
  const store = await openStore();
  await store.clear();
  await store.close();
  expect(await choices.get("acme|one")).toEqual(record);
  expect(await choices.get("acme|two")).toBeUndefined();
});

it("finds room in a database of the version before, whose shards stay", async () => {
  const old = await openDB(DATABASE_NAME, 1, {
    upgrade(database) {
      database.createObjectStore("shards").createIndex("size", "size");
      database.createObjectStore("models", { keyPath: "url" }).createIndex("shardHashes", "shardHashes", { multiEntry: true });
    },
  });
  await old.put("shards", { bytes: new ArrayBuffer(3), size: 3 }, "a");
  old.close();
  await choices.put("acme|one", record);
  const store = await openStore();
  expect([...(await store.shardSizes())]).toEqual([["a", 3]]);
  await store.close();
});

it("is STORE_BLOCKED where IndexedDB is missing", async () => {
  vi.stubGlobal("indexedDB", undefined);
  await expect(choices.get("acme|one")).rejects.toMatchObject({ code: "STORE_BLOCKED" });
});
