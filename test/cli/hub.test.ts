import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fetchFromHub, type HubFetchOptions, hubSettings, parseHubModel } from "../../runtime/cli/hub";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { palettize } from "../../runtime/cli/palettize";
import { encodeSafetensors } from "../../runtime/formats/safetensors";
import { tinyCheckpoint, tinyConfig, tinyConfigJson } from "../palettize/checkpoint";
import { COMMIT, HubServer } from "./hub-server";
import { makeDirectory } from "./model-directory";

const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";
const model = { id: "owner/name", revision: "main" };

let server: HubServer;
let cache: string;
beforeEach(async () => {
  server = await HubServer.start();
  cache = makeDirectory({});
  publish();
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await server.stop();
});

const setJson = (name: string, value: unknown) => server.files.set(name, Buffer.from(JSON.stringify(value)));

/** The tiny model in two shards. */
function publish(): void {
  const config = tinyConfig();
  const tensors = [...tinyCheckpoint(config).tensors].map(([name, { shape, values }]) => ({
    name,
    dtype: "F32" as const,
    shape,
    bytes: new Uint8Array(values.buffer),
  }));
  const halves = [tensors.slice(0, 9), tensors.slice(9)];
  for (const [i, name] of [FIRST, SECOND].entries()) server.files.set(name, Buffer.from(encodeSafetensors(halves[i])));
  const weightMap = halves.flatMap((half, i) => half.map(({ name }) => [name, [FIRST, SECOND][i]]));
  setJson("model.safetensors.index.json", { weight_map: Object.fromEntries(weightMap) });
  setJson("config.json", tinyConfigJson(config));
  setJson("tokenizer.json", { model: {} });
  server.files.set("chat_template.jinja", Buffer.from("{{ messages }}"));
}

const load = (options: HubFetchOptions = {}, from = model, token?: string) =>
  fetchFromHub(from, { url: server.url, cache, token }, { retryDelaysMs: [], ...options });

const sizeOf = (name: string) => server.files.get(name)!.length;

function expectWhole(directory: string): void {
  for (const [name, bytes] of server.files) expect(readFileSync(path.join(directory, name)).equals(bytes), name).toBe(true);
  expect(readdirSync(directory).filter((name) => name.endsWith(".partial"))).toEqual([]);
}

describe("a first fetch", () => {
  it("brings a sharded model that opens, all of one commit", async () => {
    const { directory, revision } = await load();
    expect(revision).toBe(COMMIT);
    expect(directory).toBe(path.join(cache, "owner--name", COMMIT));
    expectWhole(directory);
    const opened = await openCheckpoint(directory);
    expect(opened.shards.map(({ name }) => name)).toEqual([FIRST, SECOND]);
    await opened.close();
    const [first, ...others] = server.requests;
    expect(first).toBe("HEAD /owner/name/resolve/main/config.json");
    expect(others.filter((request) => !request.includes(`/resolve/${COMMIT}/`))).toEqual([]);
    expect(server.transfers).toEqual([`${FIRST} whole`, `${SECOND} whole`]);
  });

  it("brings a model in one file", async () => {
    server.files.delete("model.safetensors.index.json");
    server.files.set("model.safetensors", Buffer.alloc(100_000, "weights"));
    const { directory } = await load();
    expect(existsSync(path.join(directory, FIRST))).toBe(false);
    expect(readFileSync(path.join(directory, "model.safetensors"), "latin1")).toHaveLength(100_000);
  });

  it("gives the token to the hub alone", async () => {
    server.token = "secret";
    await load({}, model, "secret");
    expect(server.authorizations).toEqual([undefined, undefined]);
  });

  it("follows a redirect to a model's new name", async () => {
    server.bend = (request, response) => {
      if (!request.url?.startsWith("/old/")) return false;
      response.writeHead(307, { Location: request.url.replace("/old/", "/owner/") }).end();
      return true;
    };
    expectWhole((await load({}, { id: "old/name", revision: "main" })).directory);
  });

  it("takes files whose server names neither ETag nor size", async () => {
    server.bend = (request, response) => {
      if (!request.url?.endsWith(".json")) return false;
      const file = server.files.get(request.url.split("/").pop()!);
      response.writeHead(file ? 200 : 404);
      if (file) response.write(file);
      response.end();
      return true;
    };
    for (let run = 0; run < 2; run++) expectWhole((await load()).directory);
  });

  it("reports progress that never falls and ends at the total, breaks and all", async () => {
    server.breaks.set(SECOND, [3000, 2000]);
    const events: { done: number; total: number }[] = [];
    await load({ retryDelaysMs: [1], onProgress: (event) => events.push(event) });
    for (let i = 1; i < events.length; i++) expect(events[i].done).toBeGreaterThanOrEqual(events[i - 1].done);
    const total = sizeOf(FIRST) + sizeOf(SECOND);
    expect(events.at(-1)).toEqual({ done: total, total, name: SECOND });
  });
});

describe("a broken connection", () => {
  it("is resumed where it broke; bytes that arrive make patience new", async () => {
    server.breaks.set(FIRST, [1000, 2000, 3000]);
    expectWhole((await load({ retryDelaysMs: [1] })).directory);
    expect(server.transfers).toHaveLength(5);
    const starts = server.transfers.slice(1, 4).map((transfer) => Number(/ bytes=(\d+)-$/.exec(transfer)?.[1]));
    expect(starts[0]).toBeGreaterThan(0);
    expect(starts[1]).toBeGreaterThan(starts[0]);
    expect(starts[2]).toBeGreaterThan(starts[1]);
  });

  it("is given up where nothing comes any more, and the next run goes on from there", async () => {
    server.breaks.set(SECOND, [5000, 0, 0]);
    await expect(load({ retryDelaysMs: [1] })).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringMatching(/the network failed: .*What has arrived is kept: run the command again/),
    });
    server.breaks.clear();
    server.transfers.length = 0;
    const { size } = statSync(path.join(cache, "owner--name", COMMIT, `${SECOND}.partial`));
    expect(size).toBeGreaterThan(0);
    expectWhole((await load()).directory);
    expect(server.transfers).toEqual([`${SECOND} bytes=${size}-`]);
    server.transfers.length = 0;
    expectWhole((await load()).directory);
    expect(server.transfers).toEqual([]);
  });

  it("by an abort rejects with its reason and keeps what came", async () => {
    const controller = new AbortController();
    server.breaks.set(FIRST, [5000]);
    const onProgress = ({ done }: { done: number }) => done > 0 && controller.abort("enough");
    await expect(load({ signal: controller.signal, onProgress, retryDelaysMs: [60_000] })).rejects.toBe("enough");
    server.transfers.length = 0;
    expectWhole((await load()).directory);
    expect(server.transfers[0]).toMatch(/ bytes=\d+-$/);
  });

  it("to a server without ranges starts over, and says so where that does not help", async () => {
    server.ranges = false;
    server.breaks.set(FIRST, [3000]);
    expectWhole((await load({ retryDelaysMs: [1] })).directory);
    expect(server.transfers[1]).toMatch(/ bytes=\d+-$/);

    cache = makeDirectory({});
    server.breaks.set(FIRST, [3000, 4000, 5000, 6000]);
    await expect(load({ retryDelaysMs: [1, 1] })).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringMatching(/broke off after \d+ bytes and cannot be resumed: the server answers no byte ranges/),
    });
  });

  it("to an overloaded server is tried again", async () => {
    let left = 2;
    server.bend = (_, response) => {
      if (left-- <= 0) return false;
      response.writeHead(503).end();
      return true;
    };
    expectWhole((await load({ retryDelaysMs: [1, 1] })).directory);
  });
});

describe("a file that changes", () => {
  const change = (name: string) => server.files.set(name, Buffer.from(server.files.get(name)!).fill(7, sizeOf(name) - 100));

  it("between two runs is fetched anew", async () => {
    server.breaks.set(FIRST, [5000]);
    await expect(load()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    change(FIRST);
    server.transfers.length = 0;
    expectWhole((await load()).directory);
    expect(server.transfers[0]).toBe(`${FIRST} whole`);
    change(SECOND);
    expectWhole((await load()).directory);
  });

  it("while it is fetched is an error, and the next run begins it anew", async () => {
    server.breaks.set(FIRST, [5000]);
    server.onTransfer = () => {
      server.onTransfer = () => {};
      setTimeout(() => change(FIRST), 10);
    };
    await expect(load({ retryDelaysMs: [100] })).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringContaining("changed on the server while it was fetched"),
    });
    expectWhole((await load()).directory);
  });

  it("and is there no more leaves the cache, too", async () => {
    server.commit = undefined;
    const { directory, revision } = await load();
    expect(revision).toBe("main");
    server.files.delete("tokenizer.json");
    await load();
    expect(existsSync(path.join(directory, "tokenizer.json"))).toBe(false);
  });

  it("on its way fails its SHA-256 and leaves nothing to go on with", async () => {
    const right = server.files.get(FIRST)!;
    server.onTransfer = (name) => name === FIRST && server.files.set(FIRST, Buffer.from(right).fill(1, 500, 501));
    await expect(load()).rejects.toMatchObject({
      code: "CHECKSUM",
      message: expect.stringMatching(/the SHA-256 of \S+ must be [0-9a-f]{64} but is [0-9a-f]{64}/),
    });
    server.onTransfer = () => {};
    server.files.set(FIRST, right);
    server.transfers.length = 0;
    expectWhole((await load()).directory);
    expect(server.transfers[0]).toBe(`${FIRST} whole`);
  });
});

describe("refusals", () => {
  it.each([
    ["another name", { id: "owner/other", revision: "main" }, /owner\/other at main must be at http\S+ but is not/],
    ["another revision", { id: "owner/name", revision: "v9" }, /owner\/name at v9 must be at/],
  ])("%s", async (_, from, message) => {
    await expect(load({}, from)).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringMatching(message) });
  });

  it.each([
    ["no configuration", "config.json", "owner/name has no config.json at main"],
    ["no weights", "model.safetensors.index.json", "must hold model.safetensors, or model.safetensors.index.json and its shards"],
    ["a shard that is missing", SECOND, `/${SECOND} must be there but the server answered 404 (EntryNotFound)`],
  ])("%s", async (_, name, message) => {
    server.files.delete(name);
    await expect(load()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining(message) });
    expect(server.transfers).toEqual([]);
  });

  it("a gated model says what to do", async () => {
    server.token = "secret";
    await expect(load()).rejects.toThrow(/is gated \(401\): accept its terms .* set HF_TOKEN/);
  });

  it.each([401, 403])("%i without a reason", async (status) => {
    server.bend = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    await expect(load()).rejects.toThrow(`the server answered ${status}: there is no such model, or it is private`);
  });

  it("more bytes than there should be", async () => {
    server.excess = 10;
    const events: { done: number; total: number }[] = [];
    await expect(load({ onProgress: (event) => events.push(event) })).rejects.toThrow(
      new RegExp(`must have ${sizeOf(FIRST)} bytes but has ${sizeOf(FIRST) + 10}`),
    );
    for (const { done, total } of events) expect(done).toBeLessThanOrEqual(total);
  });

  it("a page in place of the files", async () => {
    server.bend = (_, response) => {
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end("<!doctype html>");
      return true;
    };
    await expect(load()).rejects.toThrow("answered with an HTML page. Is the hub's address right?");
  });

  it("redirects without end", async () => {
    server.bend = (request, response) => {
      response.writeHead(302, { Location: request.url }).end();
      return true;
    };
    await expect(load()).rejects.toThrow("redirects more than 10 times");
  });

  it("a model beyond this version, before its weights", async () => {
    setJson("config.json", { model_type: "mamba" });
    await expect(load()).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    expect(server.requests.filter((request) => request.includes("safetensors"))).toEqual([]);
  });

  it("shards outside the model's directory", async () => {
    setJson("model.safetensors.index.json", { weight_map: { a: "../../evil.safetensors" } });
    await expect(load()).rejects.toMatchObject({ code: "MODEL_FORMAT" });
  });

  it("a commit that is no hash names no folder", async () => {
    server.commit = "../../..";
    expect((await load()).directory).toBe(path.join(cache, "owner--name", "main"));
  });
});

describe("names and settings", () => {
  it.each([
    ["hub:owner/name", { id: "owner/name", revision: "main" }],
    ["hub:Some-Org/A_model-1.5B@v1.0", { id: "Some-Org/A_model-1.5B", revision: "v1.0" }],
    ["hub:owner/name@refs/pr/1", { id: "owner/name", revision: "refs/pr/1" }],
    ["models/hub:owner/name", undefined],
  ])("%s", (source, expected) => expect(parseHubModel(source)).toEqual(expected));

  it.each(["hub:", "hub:name", "hub:a/b/c", "hub:../b", "hub:a/..", "hub:a/b@", "hub:a/b@../c", "hub:a/b@c/../d", "hub:a/b?x"])(
    "%s is refused",
    (source) => expect(() => parseHubModel(source)).toThrow(/must be hub:OWNER\/NAME or hub:OWNER\/NAME@REVISION but is/),
  );

  it("options come before variables", () => {
    const env = { HF_ENDPOINT: "https://mirror.example/", HF_TOKEN: "t", XDG_CACHE_HOME: "/caches" };
    expect(hubSettings({}, env)).toEqual({
      url: "https://mirror.example",
      cache: path.join("/caches", "ochre", "hub"),
      token: "t",
    });
    expect(hubSettings({ hub: "http://localhost:1/hub", cache: "here" }, env)).toMatchObject({
      url: "http://localhost:1/hub",
      cache: "here",
    });
    expect(hubSettings({}, {})).toMatchObject({ url: "https://huggingface.co", token: undefined });
    expect(() => hubSettings({ hub: "ftp://x" }, {})).toThrow("must be an http or https URL");
  });
});

describe("ochre palettize hub:OWNER/NAME", () => {
  it("compiles what it fetched, and names model and commit", async () => {
    vi.spyOn(console, "log").mockImplementation(() => {});
    vi.stubEnv("HF_ENDPOINT", server.url);
    const out = path.join(makeDirectory({}), "tiny");
    await palettize(["hub:owner/name@main", "--out", out, "--cache", cache]);
    const opened = await openCheckpoint(out);
    await opened.close();
    expect(opened.config.quantization?.source).toEqual({ name: "owner/name", revision: COMMIT });
    expect(opened.checkpoint.files).toMatchObject({
      tokenizer: { model: {} },
      tokenizerConfig: { chat_template: "{{ messages }}" },
    });

    server.transfers.length = 0;
    await palettize(["hub:owner/name", "--out", out, "--hub", server.url, "--cache", cache, "--force"]);
    expect(server.transfers).toEqual([]);
    await expect(palettize(["hub:owner/name", "--out", out, "--cache", cache])).rejects.toThrow("must not exist but does");
  });
});
