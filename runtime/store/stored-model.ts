import { OchreError } from "../errors";
import type { ByteSource, CheckpointFiles } from "../formats/checkpoint";
import type { ShardIndex } from "../formats/palettized";
import { sha256 } from "./hash";
import type { Origin } from "./origin";
import { shardSources } from "./shard-sources";
import type { Store } from "./store";
import { isTransient, type Shard } from "./transfer";

/**
 * A model directory, ready to read. With a store every shard is on this device when fetchModel gives this out, but for those that
 * were left for later, and a read needs no network. Without one (`cache: false`) memory stays bounded all the same: nothing is fetched ahead, each
 * shard is fetched when it is first read and belongs to the reader alone.
 */
export class StoredModel {
  readonly index: ShardIndex;
  readonly files: CheckpointFiles;
  /** Whether every shard came from the store; false from the first one that had to be fetched. */
  fromCache: boolean;
  /** Names of shards that are fetched, and stored, only when something beyond their header is read. */
  later: ReadonlySet<string>;
  readonly #origin: Origin;
  readonly #store: Store | null;

  constructor(
    origin: Origin,
    store: Store | null,
    { index, files }: { index: ShardIndex; files: CheckpointFiles },
    later: ReadonlySet<string> = new Set(),
  ) {
    this.later = later;
    this.#origin = origin;
    this.#store = store;
    this.index = index;
    this.files = files;
    this.fromCache = store !== null;
  }

  /** Milliseconds so far; read it when the load has ended. */
  get times(): { download: number; verify: number } {
    return this.#origin.times;
  }

  /**
   * One shard's bytes, which the caller may keep or transfer. A stored shard's size is checked on every read and its
   * SHA-256 on the first one in this page; a damaged or missing one is fetched again.
   * Throws CHECKSUM where the stored copy is damaged and the network is off, INVALID_ARGUMENT for a name that is not in
   * the index, and what fetchModel throws.
   */
  async shard(name: string): Promise<ArrayBuffer> {
    const shard = this.#find(name);
    if (!this.#store) return this.#fetch(shard);

    const stored = await this.#store.getShard(shard.sha256);
    const fault = stored && (await this.#findFault(this.#store, shard, stored));
    if (stored && !fault) return stored;

    // What is fetched replaces the damaged copy, if there is one.
    const bytes = await this.#fetch(shard).catch((error) => {
      throw fault && isTransient(error) ? fault : error;
    });
    await this.#store.putShard(shard.sha256, bytes);
    return bytes;
  }

  /** The shards in index order, for a checkpoint reader. At most two of them are in memory at a time. */
  shardSources(): ByteSource[] {
    return shardSources(
      this.index.shards,
      (name) => this.shard(name),
      (name) => (this.#store && !this.later.has(name) ? undefined : (length) => this.#origin.head(this.#find(name), length)),
    );
  }

  #find(name: string): Shard {
    const shard = this.index.shards.find((candidate) => candidate.name === name);
    if (shard) return shard;
    throw new OchreError("INVALID_ARGUMENT", `[store] "${name}" must be a shard of the model's index but is not.`);
  }

  async #fetch(shard: Shard): Promise<ArrayBuffer> {
    this.fromCache = false;
    const startedAt = performance.now();
    try {
      return await this.#origin.fetch(shard);
    } finally {
      this.times.download += performance.now() - startedAt;
    }
  }

  async #findFault({ verified }: Store, shard: Shard, bytes: ArrayBuffer): Promise<OchreError | undefined> {
    if (bytes.byteLength === shard.bytes && verified.has(shard.sha256)) return undefined;
    const startedAt = performance.now();
    const actual = await sha256(bytes);
    this.times.verify += performance.now() - startedAt;
    if (actual === shard.sha256) {
      verified.add(actual);
      return undefined;
    }
    const message = `[store] the stored copy of ${shard.name} must have the SHA-256 ${shard.sha256} but has ${actual}: it is damaged and cannot be fetched again. Go online, or choose the model's files, and load once more.`;
    return new OchreError("CHECKSUM", message, { details: { file: shard.name, expected: shard.sha256, actual } });
  }
}
