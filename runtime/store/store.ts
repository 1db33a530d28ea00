/**
 * Verified shards and model records in IndexedDB. Every method is one transaction, so a crash or a closed tab leaves
 * either the state before it or the state after it.
 */
import { type IDBPDatabase, type IDBPObjectStore, openDB } from "idb";
import { OchreError } from "../errors";
import {
  type AdapterRecord,
  type ChoiceRecord,
  DATABASE_NAME,
  DATABASE_VERSION,
  type ModelRecord,
  type OchreSchema,
  upgrade,
} from "./schema";

type Database = IDBPDatabase<OchreSchema>;
type Models = IDBPObjectStore<OchreSchema, ("models" | "shards")[], "models", "readwrite">;

/** How long an open may wait for another tab to let go of an older database. Ochre's own tabs do so at once. */
const BLOCKED_WAIT_MS = 3000;

/**
 * Opens the store, creating or upgrading the database.
 * Throws STORE_BLOCKED where IndexedDB is missing, refused, held back by another tab, or newer than this version of Ochre.
 */
export async function openStore(): Promise<Store> {
  const store = new Store();
  await store.open();
  return store;
}

/** Opened for one piece of work, so that a page that only looks never stands in another tab's way. Throws STORE_BLOCKED. */
export async function withStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore();
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

export class Store {
  /** Shards whose SHA-256 this page has checked: the rest are checked on first read, against bit rot. */
  readonly verified = new Set<string>();
  #database: Promise<Database> | undefined;

  /** Opens the connection now rather than at the first call. Throws STORE_BLOCKED. */
  async open(): Promise<void> {
    await this.#connect();
  }

  /** Lets go of the connection. A later call opens it again. */
  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    (await database)?.close();
  }

  /** Size in bytes of every stored shard by SHA-256. Reads keys only. */
  shardSizes(): Promise<Map<string, number>> {
    return this.#attempt("list the stored shards", async (database) => {
      const sizes = new Map<string, number>();
      const index = database.transaction("shards").store.index("size");
      for (let cursor = await index.openKeyCursor(); cursor; cursor = await cursor.continue())
        sizes.set(cursor.primaryKey, cursor.key);
      return sizes;
    });
  }

  /** The stored bytes, unchecked; undefined where there are none. */
  getShard(sha256: string): Promise<ArrayBuffer | undefined> {
    return this.#attempt("read a shard", async (database) => (await database.get("shards", sha256))?.bytes);
  }

  /**
   * Stores bytes whose SHA-256 the caller has just checked.
   * @param neededBytes for the error: bytes that the caller still has to store, these included.
   * Throws STORE_QUOTA with `{ neededBytes, usageBytes, quotaBytes }` where there is no room.
   */
  async putShard(sha256: string, bytes: ArrayBuffer, neededBytes = bytes.byteLength): Promise<void> {
    await this.#attempt(
      "store a shard",
      async (database) => {
        const { store, done } = database.transaction("shards", "readwrite");
        await Promise.all([store.put({ bytes, size: bytes.byteLength }, sha256), done]);
      },
      neededBytes,
    );
    this.verified.add(sha256);
  }

  /** Throws STORE_QUOTA where the browser says that so many bytes more will not fit: before the work that makes them. */
  async checkRoom(neededBytes: number): Promise<void> {
    const estimate = await estimateSpace();
    if (estimate?.quota === undefined || estimate.usage === undefined) return;
    if (estimate.usage + neededBytes > estimate.quota) throw await quotaError(undefined, neededBytes);
  }

  getModel(url: string): Promise<ModelRecord | undefined> {
    return this.#attempt("read a model record", (database) => database.get("models", url));
  }

  listModels(): Promise<ModelRecord[]> {
    return this.#attempt("list the models", (database) => database.getAll("models"));
  }

  /** Writes a record, e.g. of a model that is still arriving. Throws STORE_QUOTA. */
  async putModel(record: ModelRecord): Promise<void> {
    await this.#attempt("store a model record", async (database) => {
      const { store, done } = database.transaction("models", "readwrite");
      await Promise.all([store.put(record), done]);
    });
  }

  /** Writes a record whose shards are all stored, and deletes the shards that no record names any more. Throws STORE_QUOTA. */
  commitModel(record: ModelRecord): Promise<void> {
    return this.#changeModels("store a model", (models) => models.put({ ...record, complete: true }));
  }

  /** Deletes a model, the shards that only it used and the adapters in its folder; nothing happens where it is not stored. */
  async deleteModel(url: string): Promise<void> {
    await this.#changeModels("delete a model", (models) => models.delete(url));
    const folder = `${url}/adapters/`;
    await this.#attempt("delete a model's adapters", (database) =>
      database.delete("adapters", IDBKeyRange.bound(folder, `${folder}\uffff`)),
    );
  }

  getAdapter(url: string): Promise<AdapterRecord | undefined> {
    return this.#attempt("read an adapter", (database) => database.get("adapters", url));
  }

  /** Keeps an adapter, and of all the last used, up to `budgetBytes` of weights. Throws STORE_QUOTA. */
  putAdapter(record: AdapterRecord, budgetBytes: number): Promise<void> {
    return this.#attempt(
      "store an adapter",
      async (database) => {
        const { store, done } = database.transaction("adapters", "readwrite");
        const work = async () => {
          await store.put(record);
          const all = (await store.getAll()).sort((a, b) => b.lastUsedAt - a.lastUsedAt);
          let bytes = 0;
          for (const { url, weights } of all) {
            bytes += weights.byteLength;
            if (bytes > budgetBytes) await store.delete(url);
          }
        };
        await Promise.all([work(), done]);
      },
      record.weights.byteLength,
    );
  }

  getChoice(key: string): Promise<ChoiceRecord | undefined> {
    return this.#attempt("read a choice of kernels", (database) => database.get("choices", key));
  }

  async putChoice(key: string, record: ChoiceRecord): Promise<void> {
    await this.#attempt("store a choice of kernels", (database) => database.put("choices", record, key));
  }

  /** Deletes every model, shard and adapter. Choices of kernels stay: they are small and tell nothing of models. */
  async clear(): Promise<void> {
    this.verified.clear();
    await this.#changeModels("clear the store", (models) => models.clear());
    await this.#attempt("clear the store", (database) => database.clear("adapters"));
  }

  /** Changes the model records and sweeps orphaned shards, in one transaction. */
  #changeModels(what: string, change: (models: Models) => Promise<unknown>): Promise<void> {
    return this.#attempt(what, async (database) => {
      const transaction = database.transaction(["models", "shards"], "readwrite");
      const models = transaction.objectStore("models");
      const shards = transaction.objectStore("shards");
      const work = async () => {
        await change(models);
        const inUse = new Set<string>();
        const index = models.index("shardHashes");
        for (let cursor = await index.openKeyCursor(null, "nextunique"); cursor; cursor = await cursor.continue())
          inUse.add(cursor.key);
        const orphans = (await shards.getAllKeys()).filter((sha256) => !inUse.has(sha256));
        await Promise.all(orphans.map((sha256) => shards.delete(sha256)));
      };
      await Promise.all([work(), transaction.done]);
    });
  }

  async #attempt<T>(what: string, work: (database: Database) => Promise<T>, neededBytes?: number): Promise<T> {
    const database = await this.#connect();
    try {
      return await work(database);
    } catch (cause) {
      if ((cause as Error).name === "QuotaExceededError") throw await quotaError(cause, neededBytes);
      throw new OchreError("STORE_BLOCKED", `[store] IndexedDB could not ${what}: ${(cause as Error).message}. ${HELP}`, {
        cause,
      });
    }
  }

  #connect(): Promise<Database> {
    if (this.#database) return this.#database;
    const forget = () => {
      if (this.#database === connection) this.#database = undefined;
    };
    const connection = connect(forget);
    connection.catch(forget);
    this.#database = connection;
    return connection;
  }
}

const HELP = "Reload the page, leave private browsing, allow this site to keep data, or load with cache: false.";

/** `onLost` runs when the connection is gone: given up for another tab's upgrade, or cut by the browser. */
async function connect(onLost: () => void): Promise<Database> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<Database>((resolve, reject) => {
      const opening = openDB<OchreSchema>(DATABASE_NAME, DATABASE_VERSION, {
        upgrade,
        blocked() {
          timer = setTimeout(() => {
            reject(new Error("another tab holds an older version open. Close this site's other tabs"));
            // It may still open one day; nobody waits for it then.
            opening.then(
              (database) => database.close(),
              () => {},
            );
          }, BLOCKED_WAIT_MS);
        },
        blocking(_current, _blocked, event) {
          (event.target as IDBDatabase).close();
          onLost();
        },
        terminated: onLost,
      });
      opening.then(resolve, reject);
    });
  } catch (cause) {
    const { name, message } = cause as Error;
    const why = name === "VersionError" ? "a newer Ochre has upgraded it" : message;
    throw new OchreError("STORE_BLOCKED", `[store] the database "${DATABASE_NAME}" must open but did not: ${why}. ${HELP}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
}

const estimateSpace = async (): Promise<StorageEstimate | undefined> =>
  globalThis.navigator?.storage?.estimate?.().catch(() => undefined);

async function quotaError(cause: unknown, neededBytes: number | undefined): Promise<OchreError> {
  const estimate = await estimateSpace();
  const [usageBytes, quotaBytes] = [estimate?.usage, estimate?.quota];
  const needed = neededBytes === undefined ? "the model's files" : `${megabytes(neededBytes)} more`;
  const came =
    usageBytes === undefined || quotaBytes === undefined
      ? "but the browser grants no more"
      : `but ${megabytes(usageBytes)} of the ${megabytes(quotaBytes)} that the browser grants are in use`;
  const remedy = "Delete models that are no longer needed (cache.delete), free disk space, or load with cache: false.";
  return new OchreError("STORE_QUOTA", `[store] there must be room for ${needed} ${came}. ${remedy}`, {
    details: { neededBytes, usageBytes, quotaBytes },
    cause,
  });
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
