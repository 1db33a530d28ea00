import type { ShardIndex } from "../formats/palettized";
import { fetchHead, fetchShard, type Shard, type Transfer } from "./transfer";

export interface DownloadProgress {
  /** Bytes of shards on this device and in all; `loaded` never falls and ends at `total`. */
  loaded: number;
  total: number;
  /** The shard that the latest bytes belong to. */
  file?: string;
}

/** Where a model's shards come from: one directory on a server. Counts bytes and time over the whole load. */
export class Origin {
  /** Milliseconds so far: waiting for the network, and hashing. The two overlap where shards arrive in parallel. */
  readonly times = { download: 0, verify: 0 };
  /** Every distinct shard, in load order: names that share a SHA-256 are one shard. */
  readonly shards: readonly Shard[];
  readonly #received = new Map<string, number>();
  readonly #total: number;
  #loaded = 0;

  constructor(
    readonly directory: string,
    index: ShardIndex,
    readonly transfer: Transfer,
    readonly onProgress?: (progress: DownloadProgress) => void,
  ) {
    this.shards = [...new Map(index.shards.map((shard) => [shard.sha256, shard])).values()];
    this.#total = this.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  }

  /** A whole shard, verified. Throws what fetchShard throws. */
  fetch(shard: Shard, signal = this.transfer.signal): Promise<ArrayBuffer> {
    return fetchShard(
      { ...this.transfer, signal },
      `${this.directory}/${shard.name}`,
      shard,
      (received) => this.report(shard, received),
      (ms) => {
        this.times.verify += ms;
      },
    );
  }

  /** The first `length` bytes of a shard, unchecked. Throws what fetchHead throws. */
  head(shard: Shard, length: number): Promise<Uint8Array> {
    return fetchHead(this.transfer, `${this.directory}/${shard.name}`, length);
  }

  /** Notes how much of a shard is here. A try that starts over counts again only beyond where the last one came to. */
  report(shard: Shard, received: number): void {
    const before = this.#received.get(shard.sha256) ?? 0;
    if (received <= before) return;
    this.#received.set(shard.sha256, received);
    this.#loaded += received - before;
    this.onProgress?.({ loaded: this.#loaded, total: this.#total, file: shard.name });
  }
}
