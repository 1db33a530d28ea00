import "fake-indexeddb/auto";
import { describe, expect, it, vi } from "vitest";
import { openSafetensors } from "../../runtime/formats/safetensors";
import type { DownloadProgress } from "../../runtime/store/origin";
import { expectReadable, failure, file, hashes, load, networkOff, server, store, storedHashes } from "./load-fixture";
import { bendOnce, flipBit, SHARD_COUNT, sendInstead, shardName } from "./model-server";

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
    for (const source of [a, b, b, a, c, a]) await source.read(0, 8);
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

describe("shards that may not be needed", () => {
  const wanted = (tensor: string) => tensor !== "layer.2" && tensor !== "layer.4";

  it("are fetched and stored when something in them is read", async () => {
    const model = await load({ wanted });
    expect([...server.shardRequests].sort()).toEqual([0, 2, 4].map(shardName));
    expect(await storedHashes()).toHaveLength(3);
    expect((await store.getModel(server.url))!.complete).toBe(false);
    server.forget();
    const checkpoint = await openSafetensors("tiny", model.shardSources(), model.files);
    expect(server.ranges).toEqual(Array(2).fill("bytes=0-65535"));
    server.forget();
    const read: string[] = [];
    for await (const { info } of checkpoint.stream((name) => name !== "layer.4")) read.push(info.name);
    expect(read).toEqual(["layer.1", "layer.2", "layer.3", "layer.5"]);
    expect(server.shardRequests).toEqual([shardName(1)]);
    expect(await storedHashes()).toHaveLength(4);
  });

  it("make the model whole once they are there", async () => {
    await load({ wanted });
    server.forget();
    const model = await load();
    expect([...server.shardRequests].sort()).toEqual([1, 3].map(shardName));
    expect((await store.getModel(server.url))!.complete).toBe(true);
    await expectReadable(model);
    server.forget();
    expect((await load({ wanted })).later.size).toBe(0);
    expect((await store.getModel(server.url))!.complete).toBe(true);
    expect(server.shardRequests).toEqual([]);
  });
});
