/** From a URL to a model whose every shard is verified and, with a store, on this device. */
import { OchreError } from "../errors";
import type { ShardIndex } from "../formats/palettized";
import { parseShardIndex } from "../formats/palettized-index";
import { inParallel } from "./in-parallel";
import { modelLock, withLock } from "./lock";
import { directoryUrl, modelName } from "./model-url";
import { type DownloadProgress, Origin } from "./origin";
import type { ModelRecord } from "./schema";
import type { Store } from "./store";
import { StoredModel } from "./stored-model";
import { fetchJson, isTransient, type Transfer } from "./transfer";

const PARALLEL_SHARDS = 3;
export const RETRY_DELAYS_MS = [500, 1000, 2000];
const INDEX_FILE = "model.safetensors.index.json";
const OPTIONAL_FILES = ["generation_config.json"];

export interface FetchModelOptions {
  /** Where shards are kept; null keeps nothing, and each shard is fetched when it is read. */
  store: Store | null;
  /** Tensors that are sure to be read. Shards that hold no such tensor are fetched, and stored, when they are first read. Default: all. */
  wanted?: (tensor: string) => boolean;
  signal?: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch;
  /** Waits before each further try after a network error, ms. Default 500, 1000, 2000. */
  retryDelaysMs?: readonly number[];
}

/**
 * Brings a palettized model directory to this device and returns it, opened.
 *
 * The small JSON files come from the network first, so that a new revision is seen; where the network fails and the
 * model is stored whole, the stored copy is used: an offline visit. Then only the shards that the store lacks are
 * fetched, three at a time, and each is stored as soon as its SHA-256 has been checked, so neither an abort nor a
 * failure costs what had already arrived. A new revision replaces the stored one once all of its shards are here.
 * Without a store nothing is fetched ahead: StoredModel fetches each shard when it is read. A model of which `wanted` left shards
 * away counts as stored whole, and can be visited offline, only after a load that fetches them.
 *
 * @param url the model directory, absolute.
 * Throws INVALID_ARGUMENT (no absolute URL), DOWNLOAD_FAILED, CHECKSUM, MODEL_FORMAT, STORE_QUOTA, STORE_BLOCKED, or the
 * signal's reason.
 */
export async function fetchModel(url: string, options: FetchModelOptions): Promise<StoredModel> {
  const { store, wanted, signal, onProgress } = options;
  const { fetch = globalThis.fetch, retryDelaysMs = RETRY_DELAYS_MS } = options;
  const transfer: Transfer = { fetch, signal, retryDelaysMs };
  const directory = directoryUrl(url);
  signal?.throwIfAborted();

  const startedAt = performance.now();
  const stored = await store?.getModel(directory);
  const description = await fetchDescription(transfer, directory, stored);
  const origin = new Origin(directory, description.index, transfer, onProgress);
  const later = wanted ? shardsWithout(description.index, wanted) : new Set<string>();
  const model = new StoredModel(origin, store, description, later);
  // One tab at a time: the second one finds what the first has stored.
  if (store) await withLock(modelLock(directory), signal, () => storeShards(origin, store, model));
  origin.times.download = performance.now() - startedAt;
  return model;
}

type Description = Pick<ModelRecord, "index" | "files">;

/** The JSON files from the network, or where it fails those of a model that is stored whole. */
async function fetchDescription(transfer: Transfer, directory: string, stored: ModelRecord | undefined): Promise<Description> {
  // With a stored copy at hand an offline visit need not wait for further tries.
  const patience = stored?.complete ? [] : transfer.retryDelaysMs;
  const fetchAll = (names: string[]) =>
    inParallel(names, names.length, transfer.signal, async (name, signal) => {
      const url = `${directory}/${name}`;
      return fetchJson({ ...transfer, signal, retryDelaysMs: patience }, url).catch((error) => {
        if (!isMissing(error)) throw error;
        if (OPTIONAL_FILES.includes(name)) return undefined;
        throw error.details.status === 404 ? noModelError(directory, name, error) : error;
      });
    });
  try {
    const [config, index] = await fetchAll(["config.json", INDEX_FILE]);
    const [tokenizer, tokenizerConfig, generationConfig] = await fetchAll([
      "tokenizer.json",
      "tokenizer_config.json",
      "generation_config.json",
    ]);
    return {
      index: parseShardIndex(index),
      files: { config: config!, tokenizer, tokenizerConfig, generationConfig },
    };
  } catch (error) {
    if (stored?.complete && isTransient(error)) return stored;
    throw error;
  }
}

/** A 404, or the page that a single-page app's server sends instead of one. */
const isMissing = (error: unknown): error is OchreError =>
  error instanceof OchreError && (error.details.status === 404 || error.details.page === true);

const noModelError = (directory: string, file: string, cause: OchreError): OchreError =>
  new OchreError(
    "DOWNLOAD_FAILED",
    `[download] ${directory} must be a palettized model directory but the server answered 404 for ${file}. Make one with "npx ochre palettize SOURCE --out DIR" and serve that folder.`,
    { details: cause.details, cause },
  );

/** Fetches the shards that the store lacks and makes the record say so. */
async function storeShards(origin: Origin, store: Store, model: StoredModel): Promise<void> {
  const { directory, shards, transfer } = origin;
  // Read under the lock: another tab may have stored the model while this one waited.
  const stored = await store.getModel(directory);
  const now = Date.now();
  const shardHashes = shards.map((shard) => shard.sha256);
  const sameShards = stored !== undefined && shardHashes.join() === hashesOf(stored.index).join();
  const record: ModelRecord = {
    url: directory,
    name: modelName(directory),
    index: model.index,
    files: model.files,
    shardHashes,
    storedAt: sameShards ? stored.storedAt : now,
    lastUsedAt: now,
    complete: false,
  };

  const isRefresh = stored?.complete && sameShards;
  if (!isRefresh) {
    // Written before the first shard, so that no sweep takes the shards for orphans. A complete older revision stays
    // usable until the new one is whole.
    const bothHashes = [...new Set([...(stored?.shardHashes ?? []), ...shardHashes])];
    await store.putModel(stored?.complete ? { ...stored, shardHashes: bothHashes } : record);
  }

  const sizes = await store.shardSizes();
  const absent = shards.filter((shard) => sizes.get(shard.sha256) !== shard.bytes);
  for (const shard of shards) if (!absent.includes(shard)) origin.report(shard, shard.bytes);
  model.later = new Set(absent.filter(({ name }) => model.later.has(name)).map(({ name }) => name));
  const missing = absent.filter(({ name }) => !model.later.has(name));
  model.fromCache = missing.length === 0;
  let neededBytes = missing.reduce((sum, shard) => sum + shard.bytes, 0);
  await inParallel(missing, PARALLEL_SHARDS, transfer.signal, async (shard, signal) => {
    const bytes = await origin.fetch(shard, signal);
    neededBytes -= shard.bytes;
    await store.putShard(shard.sha256, bytes, neededBytes + shard.bytes);
  });

  if (model.later.size > 0) return;
  await store.commitModel(record).catch((error) => {
    // A full disk must not keep a model from loading whose shards are all here.
    if (!isRefresh) throw error;
  });
}

/** The shards that hold no tensor that is wanted. */
function shardsWithout({ shards, weight_map }: ShardIndex, wanted: (tensor: string) => boolean): Set<string> {
  const later = new Set(shards.map(({ name }) => name));
  for (const [tensor, shard] of Object.entries(weight_map)) if (wanted(tensor)) later.delete(shard);
  return later;
}

const hashesOf = (index: ShardIndex): string[] => [...new Set(index.shards.map((shard) => shard.sha256))];
