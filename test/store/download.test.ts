import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { OchreError } from "../../runtime/errors";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { type FetchModelOptions, fetchModel } from "../../runtime/store/download";
import type { DownloadProgress } from "../../runtime/store/origin";
import { openStore, type Store } from "../../runtime/store/store";
import { FakeLocks } from "./fake-locks";
import {
  bendOnce,
  breakAfter,
  flipBit,
  htmlPage,
  ModelServer,
  SHARD_COUNT,
  sendInstead,
  shardName,
  status,
} from "./model-server";

let server: ModelServer;
let store: Store;

beforeEach(async () => {
  vi.stubGlobal("indexedDB", new IDBFactory());
  server = await ModelServer.start();
  store = await openStore();
});

afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  await store.close();
  await server.stop();
});

/** A load as a page that has just been opened makes it: nothing is known to be verified. */
async function load(options: Partial<FetchModelOptions> = {}) {
  store.verified.clear();
  return fetchModel(server.url, { store, retryDelaysMs: [1, 1, 1], ...options });
}

const failure = (promise: Promise<unknown>): Promise<OchreError> =>
  promise.then(
    () => expect.unreachable("must reject"),
    (error) => error,
  );

const networkOff: typeof fetch = async () => {
  throw new TypeError("fetch failed");
};

const file = (name: string): Buffer => server.files.get(name)!;
const hashes = (): string[] =>
  JSON.parse(String(server.files.get("model.safetensors.index.json"))).shards.map((s: { sha256: string }) => s.sha256);
const storedHashes = async (): Promise<string[]> => [...(await store.shardSizes()).keys()].sort();

/** Every shard as it stands on the server. */
async function expectReadable(model: Awaited<ReturnType<typeof load>>): Promise<void> {
  // Buffer.equals, for toEqual takes a second over so many bytes.
  for (const { name } of model.index.shards) expect(Buffer.from(await model.shard(name)).equals(file(name)), name).toBe(true);
}

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
  ])("works when %s", async (_, options) => {
    await load();
    server.forget();
    const model = await load(options);
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
    expect(await failure(load({ fetch: networkOff }))).toMatchObject({ code: "DOWNLOAD_FAILED" });
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
    expect(await failure(load({ signal: controller.signal, onProgress }))).toBe(reason);
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

describe("a bad connection", () => {
  it("is resumed where it broke", async () => {
    server.bends.set(shardName(0), bendOnce(breakAfter(150_000)));
    await expectReadable(await load());
    expect(server.ranges).toEqual(["bytes=150000-"]);
  });

  it("starts over where the server does not answer ranges", async () => {
    const whole = sendInstead((body) => body);
    const broken = bendOnce(breakAfter(150_000));
    server.bends.set(shardName(0), (...args) => broken(...args) || whole(...args));
    await expectReadable(await load());
    expect(server.ranges).toHaveLength(1);
  });

  it("is given up after the last try", async () => {
    server.bends.set(shardName(0), breakAfter(1000));
    const error = await failure(load());
    expect(error).toMatchObject({ code: "DOWNLOAD_FAILED", details: { url: `${server.url}/${shardName(0)}` } });
    expect(server.requests.filter((name) => name === shardName(0))).toHaveLength(4);
  });

  it("is tried again after a 500, which is an error in the end", async () => {
    server.bends.set(shardName(0), bendOnce(status(500), 2));
    await expectReadable(await load());
    server.publish([11, 12, 13, 14, 15]);
    server.bends.set(shardName(0), status(500));
    expect(await failure(load())).toMatchObject({ code: "DOWNLOAD_FAILED", details: { status: 500 } });
  });
});

describe("wrong bytes", () => {
  it.each([
    ["a truncated shard", (body: Buffer) => body.subarray(0, 90_000), "DOWNLOAD_FAILED"],
    ["a shard that is too long", (body: Buffer) => Buffer.concat([body, Buffer.alloc(9)]), "DOWNLOAD_FAILED"],
    ["a flipped bit", flipBit, "CHECKSUM"],
  ])("%s is fetched once more, then an error", async (_, change, code) => {
    server.bends.set(shardName(3), bendOnce(sendInstead(change)));
    await expectReadable(await load());
    expect(server.requests.filter((name) => name === shardName(3))).toHaveLength(2);

    await store.clear();
    server.forget();
    server.bends.set(shardName(3), sendInstead(change));
    const error = await failure(load());
    expect(error).toMatchObject({ code, details: { url: `${server.url}/${shardName(3)}` } });
    expect(error.details.expected).not.toEqual(error.details.actual);
    expect(server.requests.filter((name) => name === shardName(3))).toHaveLength(2);
    expect(await storedHashes()).not.toContain(hashes()[3]);
  });

  it("a shard that is an HTML page is MODEL_FORMAT", async () => {
    server.bends.set(shardName(3), htmlPage);
    expect(await failure(load())).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("HTML page") });
  });
});

describe("a directory that is no model", () => {
  it.each(["config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"])(
    "404 for %s tells how to make one",
    async (name) => {
      server.files.delete(name);
      const error = await failure(load());
      expect(error).toMatchObject({ code: "DOWNLOAD_FAILED", details: { status: 404, url: `${server.url}/${name}` } });
      expect(error.message).toContain("npx ochre palettize");
      expect(await store.listModels()).toEqual([]);
    },
  );

  it("an HTML page in place of JSON is MODEL_FORMAT, whatever its content type", async () => {
    server.bends.set("config.json", htmlPage);
    expect(await failure(load())).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("HTML page") });
    server.bends.set(
      "config.json",
      sendInstead(() => Buffer.from("\n<!doctype html>")),
    );
    expect(await failure(load())).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("HTML page") });
  });

  it("JSON that cannot be parsed is MODEL_FORMAT", async () => {
    server.bends.set(
      "tokenizer.json",
      sendInstead(() => Buffer.from('{"version": ')),
    );
    expect(await failure(load())).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("tokenizer.json") });
  });

  it("an index that is not ours is MODEL_FORMAT", async () => {
    server.setJson("model.safetensors.index.json", { metadata: {}, weight_map: {} });
    expect(await failure(load())).toMatchObject({ code: "MODEL_FORMAT" });
  });

  it.each([
    ["404", status(404)],
    ["an HTML page", htmlPage],
  ])("generation_config.json may be %s", async (_, bend) => {
    server.bends.set("generation_config.json", bend);
    expect((await load()).files.generationConfig).toBeUndefined();
  });

  it.each(["models/tiny", "https://host.test/m?token=1", "http://"])("%s is INVALID_ARGUMENT", async (url) => {
    expect(await failure(fetchModel(url, { store }))).toMatchObject({ code: "INVALID_ARGUMENT" });
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

describe("a stored shard gone bad", () => {
  const damage = async (change: (bytes: Buffer) => Buffer) => {
    await store.putShard(hashes()[2], new Uint8Array(change(server.files.get(shardName(2))!)).buffer);
    store.verified.clear();
    server.forget();
  };

  it.each([
    ["a flipped bit", flipBit],
    ["a lost end", (bytes: Buffer) => bytes.subarray(0, 10)],
  ])("is fetched again: %s", async (_, change) => {
    await load();
    await damage(change);
    await expectReadable(await load());
    expect(server.shardRequests).toEqual([shardName(2)]);
    server.forget();
    await expectReadable(await load({ fetch: networkOff }));
    expect(server.requests).toEqual([]);
  });

  it("is found when it is read, not only when it is loaded", async () => {
    await load();
    const model = await load();
    await damage(flipBit);
    expect(model.fromCache).toBe(true);
    await expectReadable(model);
    expect(model.fromCache).toBe(false);
    expect(server.shardRequests).toEqual([shardName(2)]);
  });

  it("is CHECKSUM while the network is off", async () => {
    await load();
    await damage(flipBit);
    const model = await load({ fetch: networkOff });
    for (let visit = 0; visit < 2; visit++)
      expect(await failure(model.shard(shardName(2)))).toMatchObject({ code: "CHECKSUM", details: { expected: hashes()[2] } });
  });

  it("is hashed on the first read in a page, not on every one", async () => {
    await load();
    const model = await load();
    const digest = vi.spyOn(crypto.subtle, "digest");
    await expectReadable(model);
    await expectReadable(model);
    expect(digest).toHaveBeenCalledTimes(SHARD_COUNT);
  });

  it("that is missing altogether is fetched again", async () => {
    const model = await load();
    await store.clear();
    server.forget();
    expect(Buffer.from(await model.shard(shardName(0))).equals(file(shardName(0)))).toBe(true);
    expect(server.shardRequests).toEqual([shardName(0)]);
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

describe("shardSources", () => {
  it("reads as a checkpoint, with each stored shard read twice at most", async () => {
    const model = await load();
    const reads = vi.spyOn(store, "getShard");
    const checkpoint = await openSafetensors("tiny", model.shardSources(), model.files);
    const names: string[] = [];
    for await (const { info, bytes } of checkpoint.stream()) {
      names.push(info.name);
      expect(bytes.length).toBe(200_000);
    }
    expect(names).toEqual(["layer.1", "layer.2", "layer.3", "layer.4", "layer.5"]);
    expect(reads.mock.calls.length).toBeLessThanOrEqual(2 * SHARD_COUNT);
  });

  it("keeps two shards in memory, no more", async () => {
    const model = await load();
    const reads = vi.spyOn(store, "getShard");
    const [a, b, c] = model.shardSources();
    for (const source of [a, b, a, b, a, c, a]) await source.read(0, 8);
    expect(reads).toHaveBeenCalledTimes(3);
    await b.read(0, 8);
    expect(reads).toHaveBeenCalledTimes(4);
  });

  it("refuses to read beyond the end", async () => {
    const [source] = (await load()).shardSources();
    expect(await failure(source.read(source.size - 4, 8))).toMatchObject({ code: "MODEL_FORMAT" });
  });

  it("forgets a shard that failed", async () => {
    const [source] = (await load()).shardSources();
    vi.spyOn(store, "getShard").mockRejectedValueOnce(new Error("disk"));
    await failure(source.read(0, 8));
    expect(await source.read(0, 8)).toHaveLength(8);
  });
});

describe("without a store", () => {
  it("fetches a shard when it is read, and keeps nothing", async () => {
    const model = await load({ store: null });
    expect(server.shardRequests).toEqual([]);
    expect(model.fromCache).toBe(false);
    await expectReadable(model);
    expect(server.shardRequests).toHaveLength(SHARD_COUNT);
    expect(await storedHashes()).toEqual([]);
  });

  it.each(["with", "without"])("transfers the headers first and each shard once, %s ranges", async (ranges) => {
    if (ranges === "without")
      for (let i = 0; i < SHARD_COUNT; i++)
        server.bends.set(
          shardName(i),
          sendInstead((body) => body),
        );
    const events: DownloadProgress[] = [];
    const model = await load({ store: null, onProgress: (event) => events.push(event) });
    const checkpoint = await openSafetensors("tiny", model.shardSources(), model.files);
    expect(server.shardRequests).toHaveLength(SHARD_COUNT);
    expect(server.ranges).toEqual(Array(SHARD_COUNT).fill("bytes=0-65535"));
    expect(events).toEqual([]);
    for await (const { bytes } of checkpoint.stream()) expect(bytes.length).toBe(200_000);
    expect(server.shardRequests).toHaveLength(2 * SHARD_COUNT);
    expect(events.at(-1)!.loaded).toBe(server.totalBytes);
  });

  it("is CHECKSUM where a header changed between the two reads", async () => {
    server.bends.set(
      shardName(1),
      bendOnce(sendInstead((body) => Buffer.from(String(body.toString("latin1")).replace("layer.2", "layer.9"), "latin1"))),
    );
    const model = await load({ store: null });
    const checkpoint = await openSafetensors("tiny", model.shardSources(), model.files);
    expect(await failure(checkpoint.readBytes("layer.9"))).toMatchObject({ code: "CHECKSUM" });
  });
});
