/** The user's own files, palettized by the worker with its real store: only the GPU is played. */
import "fake-indexeddb/auto";
import { readFileSync } from "node:fs";
import { IDBFactory, IDBObjectStore } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadModel, type Model } from "../../runtime/sdk/model";
import type { LoadOptions, LoadProgress, ModelSource } from "../../runtime/sdk/types";
import { cache } from "../../runtime/store/cache";
import { openStore, withStore } from "../../runtime/store/store";
import { openModel } from "../../runtime/worker/open-model";
import { tinyGguf } from "../formats/tiny-gguf";
import { FakeEngine } from "./fake-engine";
import { fakeParts, rejection, spawnCompiler, spawnWorker } from "./wire";

const bytes = tinyGguf();
const gguf = (contents = bytes, name = "Tiny.F32.gguf", lastModified = 1) => new File([contents], name, { lastModified });

const models: Model[] = [];
async function load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const model = await loadModel(source, options, () => spawnWorker({ ...fakeParts(new FakeEngine()), openModel }), spawnCompiler);
  models.push(model);
  return model;
}

const storedShards = () => withStore(async (store) => [...(await store.shardSizes()).keys()].sort());
/** Nothing is left behind, not even a shard that no list shows. */
async function expectEmptyStore(): Promise<void> {
  expect(await cache.list()).toEqual([]);
  expect(await storedShards()).toEqual([]);
}

beforeEach(() => {
  vi.stubGlobal("indexedDB", new IDBFactory());
  vi.stubGlobal("fetch", () => expect.unreachable("files need no network"));
});
afterEach(async () => {
  await Promise.all(models.splice(0).map((model) => model.dispose()));
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("a GGUF file", () => {
  it("is palettized with progress and a report, and kept", async () => {
    const seen: LoadProgress[] = [];
    const { info } = await load(gguf(), { onProgress: (progress) => seen.push(progress) });
    expect(info).toMatchObject({ name: "Tiny.F32", layers: 2, vocabulary: 512, fromCache: true });
    expect(info.averageBits).toBeGreaterThan(4);
    expect(info.palettized).toEqual({
      seconds: expect.any(Number),
      bytes: expect.any(Number),
      averageBits: info.averageBits,
      relativeError: expect.closeTo(0.1, 1),
    });
    const phases = seen.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    expect(phases).toEqual(["read", "palettize", "download", "upload", "compile", "ready"]);
    const compiled = seen.filter(({ phase }) => phase === "palettize");
    expect(compiled).toHaveLength(14);
    expect(compiled.at(-1)).toEqual({ phase: "palettize", loaded: 14, total: 14, file: "model.layers.1.mlp.down_proj" });
    expect(await cache.list()).toMatchObject([
      { name: "Tiny.F32", complete: true, url: expect.stringMatching(/^local:\/[0-9a-f]{32}\/Tiny\.F32$/) },
    ]);
  });

  it("is not palettized again: by the same file, or by its name in the list without the file", async () => {
    await load(gguf());
    const [{ url, bytes: size }] = await cache.list();
    const again = await load(gguf());
    expect(again.info).toMatchObject({ name: "Tiny.F32", fromCache: true });
    expect(again.info.palettized).toBeUndefined();
    const listed = await load(url);
    expect(listed.info).toMatchObject({ name: "Tiny.F32", fromCache: true, averageBits: again.info.averageBits });
    expect(await cache.list()).toMatchObject([{ url, bytes: size }]);
    await cache.delete(url);
    expect(await rejection(load(url))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("choose the files again"),
    });
  });

  it("is another model with other weights, a later date, or other choices", async () => {
    const changed = bytes.slice();
    changed[changed.length - 1] ^= 1;
    await load(gguf());
    await load(gguf(changed));
    await load(gguf(bytes, "Tiny.F32.gguf", 2));
    await load(gguf(), { palettize: { averageBits: 3.5 } });
    await load(gguf(), { palettize: { text: "Ochre is a pigment." } });
    expect(await cache.list()).toHaveLength(5);
  }, 30_000);

  it("is palettized to the bits and for the text that were asked for", async () => {
    const { info } = await load(gguf(), { palettize: { averageBits: 3.7, text: "Ochre is a pigment." } });
    expect(info.averageBits).toBeLessThanOrEqual(3.7);
    expect(info.averageBits).toBeGreaterThan(3.5);
  });

  it("leaves nothing behind with cache: false", async () => {
    const { info } = await load(gguf(), { cache: false });
    expect(info).toMatchObject({ name: "Tiny.F32", fromCache: false, palettized: { averageBits: expect.any(Number) } });
    await expectEmptyStore();
  });

  it("leaves nothing behind when it is aborted", async () => {
    const reason = new Error("changed my mind");
    for (const abortAt of [1, 10]) {
      const controller = new AbortController();
      const onProgress = ({ phase, loaded }: LoadProgress) => {
        if (phase === "palettize" && loaded === abortAt) controller.abort(reason);
      };
      expect(await rejection(load(gguf(), { signal: controller.signal, onProgress }))).toBe(reason);
      await expectEmptyStore();
    }
    expect((await load(gguf())).info.palettized).toBeDefined();
  });

  it("costs nothing of what is stored when the disk is full", async () => {
    await load(gguf());
    const before = [await cache.list(), await storedShards()];
    const put = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore, ...args) {
      if (this.name === "shards") throw new DOMException("full", "QuotaExceededError");
      return put.apply(this, args);
    });
    const other = { palettize: { averageBits: 3.5 } };
    expect(await rejection(load(gguf(), other))).toMatchObject({
      code: "STORE_QUOTA",
      details: { neededBytes: expect.any(Number) },
    });
    expect([await cache.list(), await storedShards()]).toEqual(before);
  });

  it("is refused before the work where the browser says that there is no room", async () => {
    vi.stubGlobal("navigator", { storage: { estimate: async () => ({ usage: 900, quota: 1000 }) } });
    const seen: string[] = [];
    const onProgress = ({ phase }: LoadProgress) => seen.push(phase);
    expect(await rejection(load(gguf(), { onProgress }))).toMatchObject({ code: "STORE_QUOTA" });
    expect(seen).toEqual(["read"]);
    await expectEmptyStore();
  });

  it("takes the place of what a closed tab left half made", async () => {
    await load(gguf());
    const [{ url }] = await cache.list();
    const store = await openStore();
    const whole = await store.getModel(url);
    await store.putShard("f".repeat(64), new ArrayBuffer(8));
    await store.putModel({ ...whole!, complete: false, shardHashes: ["f".repeat(64)] });
    await store.close();
    expect(await rejection(load(url))).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect((await load(gguf())).info.palettized).toBeDefined();
    expect(await storedShards()).not.toContain("f".repeat(64));
  });
});

describe("other files", () => {
  const golden = (name: string) => new File([readFileSync(new URL(`../golden/tiny/llama/${name}`, import.meta.url))], name);
  const tokenizerFiles = async () => {
    await load(gguf());
    const [record] = await withStore((store) => store.listModels());
    await cache.clear();
    return [
      new File([JSON.stringify(record.files.tokenizer)], "tokenizer.json"),
      new File([JSON.stringify(record.files.tokenizerConfig)], "tokenizer_config.json"),
    ];
  };

  it("may be safetensors with what belongs to them, beside a README", async () => {
    const files = [
      golden("config.json"),
      golden("model.safetensors"),
      new File(["# Hello"], "README.md"),
      ...(await tokenizerFiles()),
    ];
    const { info } = await load(files);
    expect(info).toMatchObject({ name: "model", layers: 3, palettized: { averageBits: expect.any(Number) } });
    // The README is no part of the model: without it, it is the same one.
    expect((await load(files.filter(({ name }) => name !== "README.md"))).info.palettized).toBeUndefined();
  });

  it("may be a palettized directory, which is taken as it is", async () => {
    await load(gguf());
    const directory = await withStore(async (store) => {
      const [{ index, files }] = await store.listModels();
      const shards = index.shards.map(async ({ name, sha256 }) => new File([(await store.getShard(sha256))!], name));
      const json = {
        "config.json": files.config,
        "tokenizer.json": files.tokenizer,
        "tokenizer_config.json": files.tokenizerConfig,
      };
      const texts = Object.entries({ ...json, "model.safetensors.index.json": index });
      return [...(await Promise.all(shards)), ...texts.map(([name, value]) => new File([JSON.stringify(value)], name))];
    });
    await cache.clear();
    const first = await load(directory);
    expect(first.info).toMatchObject({ name: "model", layers: 2, fromCache: false });
    expect(first.info.palettized).toBeUndefined();
    const [{ url, complete }] = await cache.list();
    expect(complete).toBe(true);
    expect((await load(url)).info).toMatchObject({ name: "model", fromCache: true });
  });

  const refused: [string, File[], string, RegExp][] = [
    ["nothing", [], "MODEL_UNSUPPORTED", /nothing was chosen/],
    ["a picture", [new File(["x"], "cat.png")], "MODEL_UNSUPPORTED", /must be a \.gguf file.*cat\.png/],
    ["two models", [gguf(), gguf(bytes, "b.gguf")], "INVALID_ARGUMENT", /one model must be chosen.*b\.gguf/],
    ["another architecture", [gguf(tinyGguf({ architecture: "mamba" }))], "MODEL_UNSUPPORTED", /must be llama but is "mamba"/],
    ["a file cut short", [gguf(bytes.slice(0, -1000))], "MODEL_FORMAT", /Tiny\.F32\.gguf/],
    ["no GGUF at all", [gguf(new Uint8Array(5000))], "MODEL_FORMAT", /Tiny\.F32\.gguf/],
    ["weights alone", [golden("model.safetensors")], "MODEL_FORMAT", /needs its config\.json and tokenizer\.json/],
    ["no tokenizer", [golden("config.json"), golden("model.safetensors")], "TOKENIZER_MISMATCH", /tokenizer\.json/],
    [
      "a shard missing",
      [
        golden("config.json"),
        new File(['{"weight_map":{"a":"model-2.safetensors"}}'], "model.safetensors.index.json"),
        new File([], "model-1.safetensors"),
      ],
      "MODEL_FORMAT",
      /model-2\.safetensors\] belongs to the model but is not among the chosen files/,
    ],
  ];
  it.each(refused)("may not be %s", async (_, files, code, message) => {
    expect(await rejection(load(files))).toMatchObject({ code, message: expect.stringMatching(message) });
    await expectEmptyStore();
  });
});
