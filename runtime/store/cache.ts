/** What a page can see and do about the models stored on this device. */
import { directoryUrl } from "./model-url";
import { withStore } from "./store";

export interface CachedModel {
  url: string;
  name: string;
  /** Bytes of this model's shards that are on this device. Shards that models share count for each of them. */
  bytes: number;
  /** Milliseconds since 1970. */
  lastUsedAt: number;
  /** False while the model is arriving, or where a load was cut off: the next one continues it. */
  complete: boolean;
}

/** Every method throws STORE_BLOCKED where IndexedDB cannot be used. */
export const cache = {
  /** The models on this device, the latest used first. */
  list(): Promise<CachedModel[]> {
    return withStore(async (store) => {
      const [models, sizes] = await Promise.all([store.listModels(), store.shardSizes()]);
      return models
        .map(({ url, name, shardHashes, lastUsedAt, complete }) => ({
          url,
          name,
          bytes: shardHashes.reduce((sum, sha256) => sum + (sizes.get(sha256) ?? 0), 0),
          lastUsedAt,
          complete,
        }))
        .sort((a, b) => b.lastUsedAt - a.lastUsedAt);
    });
  },

  /** Bytes of all stored shards, each counted once. */
  size(): Promise<number> {
    return withStore(async (store) => [...(await store.shardSizes()).values()].reduce((sum, bytes) => sum + bytes, 0));
  },

  /** Forgets a model and the shards that only it used. A model that is not stored is no error. Throws INVALID_ARGUMENT for no URL. */
  delete(url: string): Promise<void> {
    return withStore((store) => store.deleteModel(directoryUrl(url)));
  },

  /** Forgets every model. */
  clear(): Promise<void> {
    return withStore((store) => store.clear());
  },

  /** Asks the browser not to evict this site's data when space runs low; whether it agreed, false where it cannot be asked. */
  async persist(): Promise<boolean> {
    return (await globalThis.navigator?.storage?.persist?.()) ?? false;
  },
};
