/** A model that is being made on this device: into the store shard by shard, or into blobs. */
import { OchreError } from "../errors";
import type { CheckpointFiles } from "../formats/checkpoint";
import { parseJsonObject } from "../formats/json";
import { parseShardIndex } from "../formats/palettized-index";
import { sha256 } from "./hash";
import { isLocalUrl } from "./local";
import { modelLock, withFreeLock } from "./lock";
import { modelName } from "./model-url";
import type { ModelRecord } from "./schema";
import type { Store } from "./store";

/**
 * Takes a compiler's files in any order. What arrives is stored at once and belongs to an incomplete record, so that no other tab
 * takes it for an orphan; `commit` makes the record a model, `discard` leaves nothing.
 */
export class CompiledModel {
  readonly #store: Store;
  readonly #record: ModelRecord;
  readonly #json = new Map<string, Record<string, unknown>>();
  /** Bytes of shards still to come. */
  #neededBytes: number;

  private constructor(store: Store, url: string, neededBytes: number) {
    const now = Date.now();
    this.#store = store;
    this.#neededBytes = neededBytes;
    this.#record = {
      url,
      name: modelName(url),
      index: { metadata: { total_size: 0 }, weight_map: {}, shards: [] },
      files: { config: {} },
      shardHashes: [],
      storedAt: now,
      lastUsedAt: now,
      complete: false,
    };
  }

  /**
   * @param neededBytes What the shards will come to.
   * Throws STORE_QUOTA where the browser says beforehand that they will not fit; nothing is stored then.
   */
  static async begin(store: Store, url: string, neededBytes: number): Promise<CompiledModel> {
    await sweepUnfinished(store, url);
    await store.checkRoom(neededBytes);
    const model = new CompiledModel(store, url, neededBytes);
    await store.putModel(model.#record);
    return model;
  }

  /** Throws STORE_QUOTA. */
  async write(fileName: string, bytes: Uint8Array): Promise<void> {
    if (!fileName.endsWith(".safetensors")) {
      this.#json.set(fileName, parseJsonObject(fileName, new TextDecoder().decode(bytes)));
      return;
    }
    const shard = bytes.slice().buffer;
    const hash = await sha256(shard);
    if (!this.#record.shardHashes.includes(hash)) this.#record.shardHashes.push(hash);
    await this.#store.putModel(this.#record);
    await this.#store.putShard(hash, shard, Math.max(this.#neededBytes, shard.byteLength));
    this.#neededBytes -= shard.byteLength;
  }

  /** Throws STORE_QUOTA, INTERNAL where a file is missing. */
  async commit(): Promise<void> {
    const config = this.#json.get("config.json");
    if (!config) throw new OchreError("INTERNAL", "[store] a compiled model must have its config.json but has not.");
    const files: CheckpointFiles = {
      config,
      tokenizer: this.#json.get("tokenizer.json"),
      tokenizerConfig: this.#json.get("tokenizer_config.json"),
      generationConfig: this.#json.get("generation_config.json"),
    };
    const index = parseShardIndex(this.#json.get("model.safetensors.index.json"));
    await this.#store.commitModel({ ...this.#record, files, index, lastUsedAt: Date.now() });
  }

  async discard(): Promise<void> {
    await this.#store.deleteModel(this.#record.url);
  }
}

/** Deletes what a closed tab or a crash left half made, but for what another tab is making now. */
async function sweepUnfinished(store: Store, ours: string): Promise<void> {
  for (const { url, complete } of await store.listModels()) {
    if (complete || !isLocalUrl(url)) continue;
    if (url === ours) await store.deleteModel(url);
    else await withFreeLock(modelLock(url), () => store.deleteModel(url));
  }
}
