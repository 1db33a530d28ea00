/** What every test of a load needs: an empty store, a model on a server, a page that loads it. */
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, expect, vi } from "vitest";
import type { OchreError } from "../../runtime/errors";
import { type FetchModelOptions, fetchModel } from "../../runtime/store/download";
import { openStore, type Store } from "../../runtime/store/store";
import type { StoredModel } from "../../runtime/store/stored-model";
import { ModelServer } from "./model-server";

export let server: ModelServer;
export let store: Store;

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
export async function load(options: Partial<FetchModelOptions> = {}): Promise<StoredModel> {
  store.verified.clear();
  return fetchModel(server.url, { store, retryDelaysMs: [1, 1, 1], ...options });
}

export const failure = (promise: Promise<unknown>): Promise<OchreError> =>
  promise.then(
    () => expect.unreachable("must reject"),
    (error) => error,
  );

export const networkOff: typeof fetch = async () => {
  throw new TypeError("fetch failed");
};

export const file = (name: string): Buffer => server.files.get(name)!;

/** The SHA-256 of each shard of the revision on the server, in index order. */
export const hashes = (): string[] =>
  JSON.parse(String(file("model.safetensors.index.json"))).shards.map((shard: { sha256: string }) => shard.sha256);

export const storedHashes = async (): Promise<string[]> => [...(await store.shardSizes()).keys()].sort();

/** Every shard as it stands on the server. */
export async function expectReadable(model: StoredModel): Promise<void> {
  // Buffer.equals, for toEqual takes a second over so many bytes.
  for (const { name } of model.index.shards) expect(Buffer.from(await model.shard(name)).equals(file(name)), name).toBe(true);
}
