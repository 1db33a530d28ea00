import "fake-indexeddb/auto";
import { describe, expect, it } from "vitest";
import { fetchModel } from "../../runtime/store/download";
import { expectReadable, failure, hashes, load, server, store, storedHashes } from "./load-fixture";
import { bendOnce, breakAfter, flipBit, htmlPage, sendInstead, shardName, status } from "./model-server";

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
    expect(server.requests.filter((name) => name === shardName(0))).toHaveLength(2);
  });

  it("costs no second request where it broke after the last byte", async () => {
    server.bends.set(shardName(0), (response, body) => {
      // In chunks of no stated total: only the missing end of the body tells that it broke.
      response.write(body!, () => setTimeout(() => response.destroy(), 20));
      return true;
    });
    await expectReadable(await load());
    expect(server.requests.filter((name) => name === shardName(0))).toHaveLength(1);
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
