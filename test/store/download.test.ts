import "fake-indexeddb/auto";
import { describe, expect, it, vi } from "vitest";
import { fetchModel } from "../../runtime/store/download";
import type { DownloadProgress } from "../../runtime/store/origin";
import { openStore } from "../../runtime/store/store";
import { FakeLocks } from "./fake-locks";
import { expectReadable, failure, file, hashes, load, networkOff, server, store, storedHashes } from "./load-fixture";
import { bendOnce, breakAfter, flipBit, SHARD_COUNT, sendInstead, shardName, status } from "./model-server";

describe("a first load", () => {
  it("fetches each file once, stores every shard and gives its bytes", async () => {
    const model = await load();
    expect([...server.requests].sort()).toEqual([...server.files.keys()].sort());
    expect(model.fromCache).toBe(false);
    expect(model.files).toEqual({
      config: { model_type: "llama", seeds: [1, 2, 3, 4, 5] },
      tokenizer: { version: "1.0" },
      tokenizerConfig: { chat_template: "{{ messages }}" },
      generationConfig: { eos_token_id: 2 },
    });
    expect(await storedHashes()).toEqual(hashes().sort());
    expect(await store.getModel(server.url)).toMatchObject({ name: "tiny", complete: true, shardHashes: hashes() });
    await expectReadable(model);
    expect(model.times.download).toBeGreaterThan(0);
    expect(model.times.verify).toBeGreaterThan(0);
  });

  it("reports progress that never falls and ends at the total, even where a shard starts over", async () => {
    server.bends.set(shardName(1), bendOnce(sendInstead(flipBit)));
    server.bends.set(shardName(2), bendOnce(breakAfter(100_000)));
    const events: DownloadProgress[] = [];
    await load({ onProgress: (event) => events.push(event) });
    expect(events.length).toBeGreaterThan(SHARD_COUNT);
    for (let i = 1; i < events.length; i++) expect(events[i].loaded).toBeGreaterThan(events[i - 1].loaded);
    expect(new Set(events.map((event) => event.total))).toEqual(new Set([server.totalBytes]));
    expect(events.at(-1)!.loaded).toBe(server.totalBytes);
  });

  it("runs at most three shards at a time", async () => {
    let running = 0;
    let most = 0;
    const counting: typeof fetch = async (input, init) => {
      if (!String(input).endsWith(".safetensors")) return fetch(input, init);
      most = Math.max(most, ++running);
      const response = await fetch(input, init);
      const bytes = await response.arrayBuffer();
      await new Promise((resolve) => setTimeout(resolve, 5));
      running--;
      return new Response(bytes);
    };
    await load({ fetch: counting });
    expect(most).toBe(3);
  });

  it("stores a shard once that stands in the index twice", async () => {
    server.publish([1, 2, 1, 4, 1]);
    const index = JSON.parse(String(server.files.get("model.safetensors.index.json")));
    const model = await load();
    expect(server.shardRequests).toHaveLength(3);
    expect(await storedHashes()).toHaveLength(3);
    expect(index.shards).toHaveLength(5);
    await expectReadable(model);
  });
});

describe("a second load", () => {
  it("makes no shard request", async () => {
    await load();
    server.forget();
    const events: DownloadProgress[] = [];
    const model = await load({ onProgress: (event) => events.push(event) });
    expect(server.shardRequests).toEqual([]);
    expect(model.fromCache).toBe(true);
    expect(events.at(-1)).toMatchObject({ loaded: server.totalBytes, total: server.totalBytes });
    await expectReadable(model);
  });

  it.each([
    ["the network is off", { fetch: networkOff }],
    ["the server is down", { fetch: (async () => new Response("", { status: 503 })) as typeof fetch }],
  ])("works when %s, without waiting for further tries", async (_, options) => {
    await load();
    server.forget();
    const model = await load({ ...options, retryDelaysMs: [60_000] });
    expect(model.fromCache).toBe(true);
    expect(model.files.tokenizer).toEqual({ version: "1.0" });
    await expectReadable(model);
    expect(server.requests).toEqual([]);
  });

  it("works offline with no room left even for the time of use", async () => {
    await load();
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    await expectReadable(await load({ fetch: networkOff }));
  });

  it("takes newer JSON files although the shards are the same", async () => {
    await load();
    server.setJson("tokenizer_config.json", { chat_template: "new" });
    await load();
    expect((await load({ fetch: networkOff })).files.tokenizerConfig).toEqual({ chat_template: "new" });
  });

  it("remembers when it was used and when it was stored", async () => {
    const now = vi.spyOn(Date, "now");
    now.mockReturnValue(1000);
    await load();
    now.mockReturnValue(2000);
    await load();
    expect(await store.getModel(server.url)).toMatchObject({ storedAt: 1000, lastUsedAt: 2000 });
  });
});

describe("a load that fails half-way", () => {
  it("keeps what was verified and fetches only the rest next time", async () => {
    server.bends.set(shardName(4), status(404));
    expect(await failure(load())).toMatchObject({ code: "DOWNLOAD_FAILED", details: { status: 404 } });
    const kept = await storedHashes();
    expect(kept.length).toBeGreaterThan(0);
    expect(await store.getModel(server.url)).toMatchObject({ complete: false });

    server.bends.clear();
    server.forget();
    const events: DownloadProgress[] = [];
    const model = await load({ onProgress: (event) => events.push(event) });
    expect(server.shardRequests).toHaveLength(SHARD_COUNT - kept.length);
    expect(events.at(-1)!.loaded).toBe(server.totalBytes);
    expect(model.fromCache).toBe(false);
    await expectReadable(model);
  });

  it("is not usable offline", async () => {
    server.bends.set(shardName(4), status(404));
    await failure(load());
    const details = { url: expect.stringMatching(/\.json$/), transient: true };
    expect(await failure(load({ fetch: networkOff }))).toMatchObject({ code: "DOWNLOAD_FAILED", details });
  });

  it("keeps its shards although another model is stored meanwhile", async () => {
    server.bends.set(shardName(4), status(404));
    await failure(load());
    const kept = await storedHashes();
    await store.commitModel({ ...(await store.getModel(server.url))!, url: "https://elsewhere.test/m", shardHashes: [] });
    expect(await storedHashes()).toEqual(kept);
  });

  it("stops at once when it is aborted in mid-shard, and leaves nothing half stored", async () => {
    const controller = new AbortController();
    const reason = new Error("the visitor left");
    // Everything arrives but the end of the last shard.
    server.bends.set(shardName(4), (response, body) => {
      response.writeHead(200, { "Content-Length": body!.length });
      response.write(body!.subarray(0, 50_000));
      return true;
    });
    const onProgress = ({ file: name }: DownloadProgress) => {
      if (name === shardName(4)) setTimeout(() => controller.abort(reason), 50);
    };
    expect(await failure(load({ signal: controller.signal, onProgress, retryDelaysMs: [] }))).toBe(reason);
    expect(await storedHashes()).toEqual(hashes().slice(0, 4).sort());
    expect(await store.getModel(server.url)).toMatchObject({ complete: false, shardHashes: hashes() });

    server.bends.clear();
    server.forget();
    await expectReadable(await load());
    expect(server.shardRequests).toEqual([shardName(4)]);
  });

  it("stops in the middle of a wait between tries", async () => {
    const controller = new AbortController();
    const started = performance.now();
    const loading = load({ fetch: networkOff, retryDelaysMs: [60_000], signal: controller.signal });
    setTimeout(() => controller.abort(), 10);
    expect(await failure(loading)).toBe(controller.signal.reason);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  it("starts nothing with a signal that is aborted already", async () => {
    expect(await failure(load({ signal: AbortSignal.abort("no") }))).toBe("no");
    expect(server.requests).toEqual([]);
  });
});

describe("no room", () => {
  it("is STORE_QUOTA with the numbers, and keeps what was stored", async () => {
    const estimate = async () => ({ usage: 900_000, quota: 1_000_000 });
    vi.stubGlobal("navigator", { storage: { estimate } });
    const put = IDBObjectStore.prototype.put;
    let shardsLeft = 2;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore, value, key) {
      if (this.name === "shards" && shardsLeft-- <= 0) throw new DOMException("full", "QuotaExceededError");
      return put.call(this, value, key);
    });
    const error = await failure(load());
    expect(error).toMatchObject({ code: "STORE_QUOTA", details: { usageBytes: 900_000, quotaBytes: 1_000_000 } });
    expect(error.details.neededBytes).toBe(3 * file(shardName(0)).length);
    expect(error.message).toContain("0.9 MB of the 1.0 MB");
    expect(await storedHashes()).toHaveLength(2);

    vi.restoreAllMocks();
    server.forget();
    await expectReadable(await load());
    expect(server.shardRequests).toHaveLength(3);
  });
});

describe("a new revision", () => {
  it("fetches only the shards that changed and deletes those that nothing uses", async () => {
    await load();
    const before = hashes();
    server.publish([1, 2, 3, 40, 50]);
    server.forget();
    await expectReadable(await load());
    expect([...server.shardRequests].sort()).toEqual([shardName(3), shardName(4)]);
    expect(await storedHashes()).toEqual(hashes().sort());
    expect(before[3]).not.toBe(hashes()[3]);
  });

  it("leaves the stored one usable until all of it is here", async () => {
    await load();
    const before = hashes();
    server.publish([1, 2, 3, 40, 50]);
    server.bends.set(shardName(4), (...args) => {
      setTimeout(() => status(404)(...args), 30);
      return true;
    });
    await failure(load());
    // Another model is stored meanwhile, which sweeps orphans.
    await store.deleteModel("https://elsewhere.test/m");
    expect(await storedHashes()).toEqual([...before, hashes()[3]].sort());
    const offline = await load({ fetch: networkOff });
    expect(offline.files.config).toMatchObject({ seeds: [1, 2, 3, 4, 5] });
    expect(offline.index.shards.map((shard) => shard.sha256)).toEqual(before);
  });

  it("spares the shards that another model uses", async () => {
    await load();
    const before = hashes();
    const record = (await store.getModel(server.url))!;
    await store.putModel({ ...record, url: "https://elsewhere.test/m", shardHashes: [before[4]] });
    server.publish([1, 2, 3, 4, 50]);
    await load();
    expect(await storedHashes()).toEqual([...before, hashes()[4]].sort());
  });
});

describe("two loads at once", () => {
  it("fetch each shard once under a Web Lock, and both end with the model", async () => {
    vi.stubGlobal("navigator", { locks: new FakeLocks() });
    const otherTab = await openStore();
    const models = await Promise.all([load(), fetchModel(server.url, { store: otherTab })]);
    expect([...server.shardRequests].sort()).toEqual(Array.from({ length: SHARD_COUNT }, (_, i) => shardName(i)));
    for (const model of models) await expectReadable(model);
    await otherTab.close();
  });

  it("leave a sound store without Web Locks", async () => {
    vi.stubGlobal("navigator", {});
    for (const model of await Promise.all([load(), load()])) await expectReadable(model);
    expect(await storedHashes()).toEqual(hashes().sort());
  });

  it("end the second one's wait when it is aborted", async () => {
    const locks = new FakeLocks();
    vi.stubGlobal("navigator", { locks });
    const controller = new AbortController();
    const release = await locks.hold(`ochre:${server.url}`);
    const waiting = failure(load({ signal: controller.signal }));
    await vi.waitFor(() => expect(locks.waiting).toBe(1));
    controller.abort(new Error("the visitor left"));
    expect(await waiting).toBe(controller.signal.reason);
    release();
    expect(server.shardRequests).toEqual([]);
  });
});
