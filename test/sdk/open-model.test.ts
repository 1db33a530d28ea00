/** The worker with its real store, formats and text: only the GPU is played. */
import "fake-indexeddb/auto";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { encodeSafetensors } from "../../runtime/formats/safetensors";
import { loadModel, type Model } from "../../runtime/sdk/model";
import type { LoadOptions, Message } from "../../runtime/sdk/types";
import { cache } from "../../runtime/store/cache";
import { openModel } from "../../runtime/worker/open-model";
import { FakeEngine } from "./fake-engine";
import { fakeParts, rejection, spawnCompiler, spawnWorker } from "./wire";

const golden = (name: string) => readFileSync(new URL(`../golden/${name}`, import.meta.url));
const json = (name: string) => JSON.parse(golden(name).toString());
const chatCases: { messages: Message[]; add_generation_prompt: boolean; ids: number[] }[] = json("chat_cases.json").cases;
const streaming: { text: string; ids: number[] } = json("tokenizer_cases.json").streaming[0];

const SHARD = "model-00001-of-00001.safetensors";
const shard = encodeSafetensors([{ name: "model.norm.weight", dtype: "F32", shape: [8], bytes: new Uint8Array(32) }]);
const directory: Record<string, string | Uint8Array<ArrayBuffer>> = {
  "config.json": JSON.stringify({
    model_type: "llama",
    hidden_size: 8,
    num_attention_heads: 2,
    num_hidden_layers: 1,
    intermediate_size: 16,
    vocab_size: 49152,
    eos_token_id: 2,
    max_position_embeddings: 512,
  }),
  "tokenizer.json": gunzipSync(golden("tokenizer.json.gz")).toString(),
  "tokenizer_config.json": golden("tokenizer_config.json").toString(),
  "model.safetensors.index.json": JSON.stringify({
    metadata: { total_size: shard.length },
    weight_map: { "model.norm.weight": SHARD },
    shards: [{ name: SHARD, bytes: shard.length, sha256: createHash("sha256").update(shard).digest("hex") }],
  }),
  [SHARD]: shard,
};

/** A server with one model on it. */
const serveDirectory = vi.fn(async (url: string | URL | Request) => {
  const body = directory[String(url).replace("https://example.test/hub/tiny/", "")];
  return body === undefined ? new Response("", { status: 404 }) : new Response(body);
});

let engine: FakeEngine;
const load = (options: LoadOptions = {}): Promise<Model> => {
  engine = new FakeEngine();
  return loadModel(
    "https://example.test/hub/tiny/",
    options,
    () => spawnWorker({ ...fakeParts(engine), openModel }),
    spawnCompiler,
  );
};

beforeEach(() => {
  serveDirectory.mockClear();
  vi.stubGlobal("fetch", serveDirectory);
});
afterEach(async () => {
  vi.unstubAllGlobals();
  await cache.clear();
});

describe("a model directory on a server", () => {
  it("is fetched once, then found in the store", async () => {
    const first = await load();
    expect(first.info).toMatchObject({ name: "tiny", vocabulary: 49152, contextTokens: 512, fromCache: false });
    await first.dispose();
    serveDirectory.mockClear();
    const second = await load();
    expect(second.info.fromCache).toBe(true);
    expect(serveDirectory.mock.calls.map(([url]) => String(url))).not.toContain(`https://example.test/hub/tiny/${SHARD}`);
    const session = await second.createSession();
    await session.prompt("Hi");
    expect(session.lastMetrics?.loadMs).toEqual({
      download: expect.any(Number),
      verify: expect.any(Number),
      upload: 3,
      compile: 4,
    });
    await second.dispose();
  });

  it("leaves nothing behind with cache: false", async () => {
    const model = await load({ cache: false });
    expect(model.info.fromCache).toBe(false);
    expect(await cache.list()).toEqual([]);
    await model.dispose();
  });

  it("says what is wrong with it", async () => {
    vi.stubGlobal("fetch", async () => new Response("", { status: 404 }));
    expect(await rejection(load())).toMatchObject({ code: "DOWNLOAD_FAILED", details: { status: 404 } });
    vi.stubGlobal("fetch", (url: string) =>
      url.endsWith("/config.json")
        ? Promise.resolve(new Response(String(directory["config.json"]).replace("49152", "49151")))
        : serveDirectory(url),
    );
    expect(await rejection(load())).toMatchObject({ code: "TOKENIZER_MISMATCH", details: { vocabulary: 49151 } });
  });
});

describe("the text of a conversation", () => {
  it("has the ids that transformers makes of it", async () => {
    const model = await load();
    for (const { messages, add_generation_prompt, ids } of chatCases) {
      const session = await model.createSession();
      if (add_generation_prompt) {
        await session.prompt(messages);
        expect(engine.latestSequence?.ids.slice(0, ids.length)).toEqual(ids);
        expect(session.lastMetrics?.promptTokens).toBe(ids.length);
      } else {
        await session.append(messages);
        expect(engine.latestSequence?.ids).toEqual(ids);
        expect(session.contextUsage).toBe(ids.length);
      }
    }
    await model.dispose();
  });

  it("streams characters whole, and finds the reply in the cache at the next prompt", async () => {
    const model = await load();
    engine.batchTokens = 1;
    engine.script = [streaming.ids];
    const session = await model.createSession();
    const pieces: string[] = [];
    for await (const piece of session.promptStreaming("Hello")) pieces.push(piece);
    expect(pieces.join("")).toBe(streaming.text);
    expect(pieces[0]).toBe("😀");
    expect(pieces.join("")).not.toContain("\uFFFD");
    await session.prompt("And?");
    // Prompt and reply; the end of the turn was sampled but never run.
    expect(session.lastMetrics?.cachedTokens).toBe(31 + streaming.ids.length);
    await model.dispose();
  });
});
