import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fetchAdapter } from "../../runtime/store/fetch-adapter";
import { openStore, type Store } from "../../runtime/store/store";

const URL = "https://example.test/models/tiny/adapters/pirate";
let store: Store;
beforeEach(async () => {
  store = await openStore();
});
afterEach(async () => {
  await store.clear();
  await store.close();
});

const weights = Uint8Array.from({ length: 100 }, (_, i) => i);
const online: typeof fetch = async (input) =>
  String(input).endsWith(".json") ? new Response('{"r":4}') : new Response(weights.slice());
const offline: typeof fetch = async () => {
  throw new TypeError("no network");
};
const options = (fetch: typeof globalThis.fetch) => ({ store, fetch, retryDelaysMs: [] });

describe("an adapter", () => {
  it("comes from the network, and offline from the store", async () => {
    await expect(fetchAdapter(URL, options(offline))).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    expect(await fetchAdapter(URL, options(online))).toMatchObject({ config: { r: 4 }, weights });
    expect(await fetchAdapter(URL, options(offline))).toMatchObject({ config: { r: 4 }, weights });
    await fetchAdapter(`${URL}2`, { ...options(online), store: null });
    expect(await store.getAdapter(`${URL}2`)).toBeUndefined();
  });

  it("is not taken from the store where its bytes are not what they were, or are gone with the model", async () => {
    await fetchAdapter(URL, options(online));
    const record = (await store.getAdapter(URL))!;
    await store.putAdapter({ ...record, weights: record.weights.map((byte) => byte ^ 1) }, 1e6);
    await expect(fetchAdapter(URL, options(offline))).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    await fetchAdapter(URL, options(online));
    await store.deleteModel("https://example.test/models/tiny");
    expect(await store.getAdapter(URL)).toBeUndefined();
  });

  it("makes room for those used later", async () => {
    const put = (url: string, lastUsedAt: number) =>
      store.putAdapter({ url, config: {}, weights: new Uint8Array(100), sha256: "", lastUsedAt }, 250);
    await put("a", 1);
    await put("b", 3);
    await put("c", 2);
    const kept = await Promise.all(["a", "b", "c"].map((url) => store.getAdapter(url)));
    expect(kept.map((record) => record?.url)).toEqual([undefined, "b", "c"]);
  });
});
