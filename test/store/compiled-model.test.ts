import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CompiledModel } from "../../runtime/store/compiled-model";
import { sha256 } from "../../runtime/store/hash";
import { filesFetch, identifyFiles, type LocalFile, localUrl } from "../../runtime/store/local";
import { openStore, type Store } from "../../runtime/store/store";

const OURS = localUrl("a".repeat(32), "ours");
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const shard = (fill: number) => new Uint8Array(1000).fill(fill);

let store: Store;
beforeEach(async () => {
  vi.stubGlobal("indexedDB", new IDBFactory());
  store = await openStore();
});
afterEach(async () => {
  await store.close();
  vi.unstubAllGlobals();
});

async function writeAll(model: CompiledModel): Promise<string[]> {
  const shards = await Promise.all(
    [1, 2].map(async (fill) => ({ name: `model-${fill}.safetensors`, bytes: 1000, sha256: await sha256(shard(fill)) })),
  );
  await model.write(shards[0].name, shard(1));
  await model.write("tokenizer.json", json({ model: {} }));
  await model.write(shards[1].name, shard(2));
  await model.write("model.safetensors.index.json", json({ metadata: { total_size: 2000 }, weight_map: {}, shards }));
  await model.write("config.json", json({ model_type: "llama" }));
  return shards.map((entry) => entry.sha256);
}

describe("a model in the making", () => {
  it("is a model of the store once it is committed, and not before", async () => {
    const model = await CompiledModel.begin(store, OURS, 2000);
    const hashes = await writeAll(model);
    expect(await store.getModel(OURS)).toMatchObject({ complete: false, name: "ours" });
    await model.commit();
    expect(await store.getModel(OURS)).toMatchObject({
      complete: true,
      shardHashes: hashes,
      index: { metadata: { total_size: 2000 } },
      files: { config: { model_type: "llama" }, tokenizer: { model: {} } },
    });
    expect([...(await store.shardSizes()).keys()].sort()).toEqual([...hashes].sort());
  });

  it("keeps its shards while other models come and go", async () => {
    const model = await CompiledModel.begin(store, OURS, 2000);
    const hashes = await writeAll(model);
    const other = { ...(await store.getModel(OURS))!, url: "https://a.test/other", shardHashes: [] };
    await store.commitModel(other);
    await store.deleteModel(other.url);
    expect([...(await store.shardSizes()).keys()].sort()).toEqual([...hashes].sort());
  });

  it("leaves nothing when it is discarded", async () => {
    const model = await CompiledModel.begin(store, OURS, 2000);
    await writeAll(model);
    await model.discard();
    expect(await store.listModels()).toEqual([]);
    expect(await store.shardSizes()).toEqual(new Map());
  });

  it("sweeps what others left half made, but for what is being made or downloaded now", async () => {
    const urls = ["left", "busy"].map((name) => localUrl("b".repeat(32), name));
    for (const url of urls) await writeAll(await CompiledModel.begin(store, url, 2000));
    const download = { ...(await store.getModel(urls[0]))!, url: "https://a.test/half", shardHashes: [] };
    await store.putModel(download);
    // As the browser answers: a lock that somebody holds is null.
    const request = async (name: string, _: unknown, work: (lock: object | null) => Promise<void>) =>
      work(name === `ochre:${urls[1]}` ? null : {});
    vi.stubGlobal("navigator", { locks: { request } });
    await CompiledModel.begin(store, OURS, 2000);
    expect((await store.listModels()).map(({ url }) => url).sort()).toEqual([download.url, OURS, urls[1]].sort());
  });
});

describe("files", () => {
  const file = (name: string, contents: Uint8Array<ArrayBuffer>, lastModified = 1): LocalFile => ({
    name,
    lastModified,
    contents: new Blob([contents]),
  });

  it("are known by names, sizes, dates, ends and samples, in any order", async () => {
    const bytes = new Uint8Array(300_000).map((_, i) => i % 251);
    const config = file("config.json", json({}));
    const key = await identifyFiles([config, file("a.gguf", bytes)], "");
    expect(key).toMatch(/^[0-9a-f]{32}$/);
    expect(await identifyFiles([file("a.gguf", bytes), config], "")).toBe(key);
    const changed = (at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
    const others = [
      identifyFiles([file("a.gguf", bytes)], ""),
      identifyFiles([config, file("a.gguf", bytes)], "3.5 bits"),
      identifyFiles([config, file("b.gguf", bytes)], ""),
      identifyFiles([config, file("a.gguf", bytes, 2)], ""),
      identifyFiles([config, file("a.gguf", bytes.slice(0, -1))], ""),
      ...[0, 65_535, 66_000, 299_999].map((at) => identifyFiles([config, file("a.gguf", changed(at))], "")),
    ];
    const keys = await Promise.all(others);
    expect(new Set([key, ...keys]).size).toBe(1 + others.length);
  });

  it("answer a fetch, whole or in part", async () => {
    const fetch = filesFetch([file("a.bin", Uint8Array.of(1, 2, 3, 4))]);
    const bytes = async (init?: RequestInit) => [...new Uint8Array(await (await fetch("local:/x/m/a.bin", init)).arrayBuffer())];
    expect(await bytes()).toEqual([1, 2, 3, 4]);
    expect(await bytes({ headers: { Range: "bytes=1-2" } })).toEqual([2, 3]);
    expect(await bytes({ headers: { Range: "bytes=3-" } })).toEqual([4]);
    expect((await fetch("local:/x/m/b.bin")).status).toBe(404);
    await expect(fetch("local:/x/m/a.bin", { signal: AbortSignal.abort("no") })).rejects.toBe("no");
  });
});
