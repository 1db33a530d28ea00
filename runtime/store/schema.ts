/** What IndexedDB holds, and how an older database becomes this one. */
import type { DBSchema, IDBPDatabase } from "idb";
import type { CheckpointFiles } from "../formats/checkpoint";
import type { ShardIndex } from "../formats/palettized";

export const DATABASE_NAME = "ochre";
export const DATABASE_VERSION = 3;

export interface ModelRecord {
  /** Absolute URL of the model directory, without a trailing slash. */
  url: string;
  /** Last segment of the URL. */
  name: string;
  index: ShardIndex;
  files: CheckpointFiles;
  /**
   * SHA-256 of every shard that this record keeps alive: those of `index` and, while a new revision is
   * arriving, those of the new index as well. A shard that no record names is an orphan.
   */
  shardHashes: string[];
  /** Milliseconds since 1970. */
  storedAt: number;
  lastUsedAt: number;
  /** Every shard of `index` was verified and stored. */
  complete: boolean;
}

/** A LoRA adapter's two files. */
export interface AdapterRecord {
  /** Absolute URL of its directory, without a trailing slash. */
  url: string;
  config: Record<string, unknown>;
  weights: Uint8Array;
  /** Of `weights`. */
  sha256: string;
  /** Milliseconds since 1970. */
  lastUsedAt: number;
}

/** What is known of one adapter and one shape of model: see ChoiceRecord in engine/tune.ts, which this is. */
export interface ChoiceRecord {
  fingerprint: string;
  attempts: number;
  choice?: { software: boolean; int8: boolean; f32Pairs: boolean; lanes: number };
}

export interface OchreSchema extends DBSchema {
  /** Content-addressed: the key is the SHA-256 in hex, so shards that models or revisions share are stored once. */
  shards: {
    key: string;
    value: { bytes: ArrayBuffer; size: number };
    /** Walking this index by keys gives each shard's size without reading its bytes. */
    indexes: { size: number };
  };
  models: {
    key: string;
    value: ModelRecord;
    /** One entry a hash: the keys alone say which shards are in use. */
    indexes: { shardHashes: string };
  };
  /** The key names the adapter and the model's shape, so that what is outdated is written over. */
  choices: { key: string; value: ChoiceRecord };
  adapters: { key: string; value: AdapterRecord };
}

export function upgrade(database: IDBPDatabase<OchreSchema>, oldVersion: number): void {
  if (oldVersion < 1) {
    database.createObjectStore("shards").createIndex("size", "size");
    database.createObjectStore("models", { keyPath: "url" }).createIndex("shardHashes", "shardHashes", { multiEntry: true });
  }
  if (oldVersion < 2) database.createObjectStore("choices");
  if (oldVersion < 3) database.createObjectStore("adapters", { keyPath: "url" });
}
