/** Tensors into shards of at most 16 MB: planned from shapes alone, so that names and order are known before any weight is. */
import { OchreError } from "../errors";
import type { DType } from "../formats/checkpoint";
import { SHARD_BYTES, type ShardIndex } from "../formats/palettized";
import { encodeSafetensors } from "../formats/safetensors";

/** Where a compiled model goes, file by file; nothing is written twice. */
export interface ModelSink {
  write(fileName: string, bytes: Uint8Array): Promise<void>;
}

export interface PlannedTensor {
  name: string;
  dtype: DType;
  shape: readonly number[];
  bytes: number;
}

/** More than any entry of a safetensors header takes beside its name. */
const HEADER_ENTRY_BYTES = 128;

/**
 * Tensors, in load order, cut into runs that fit a shard each.
 * @throws OchreError MODEL_UNSUPPORTED for a tensor that is larger than a shard.
 */
export function planShards(tensors: readonly PlannedTensor[], limit = SHARD_BYTES): PlannedTensor[][] {
  const shards: PlannedTensor[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const size = tensor.bytes + tensor.name.length + HEADER_ENTRY_BYTES;
    if (size + HEADER_ENTRY_BYTES > limit) {
      throw new OchreError(
        "MODEL_UNSUPPORTED",
        `[palettize] a tensor must fit a shard of ${limit} bytes but ${tensor.name} has ${tensor.bytes}: this version compiles small models.`,
      );
    }
    if (size > room) {
      shards.push([]);
      room = limit - HEADER_ENTRY_BYTES;
    }
    shards[shards.length - 1].push(tensor);
    room -= size;
  }
  return shards;
}

/** Collects the tensors of a plan in any order and writes each shard once it is whole. */
export class ShardWriter {
  readonly #sink: ModelSink;
  readonly #plan: readonly (readonly PlannedTensor[])[];
  readonly #shardOf = new Map<string, number>();
  readonly #waiting: Map<string, Uint8Array>[];
  readonly #shards: ShardIndex["shards"] = [];

  constructor(plan: readonly (readonly PlannedTensor[])[], sink: ModelSink) {
    this.#sink = sink;
    this.#plan = plan;
    this.#waiting = plan.map(() => new Map());
    plan.forEach((tensors, shard) => {
      for (const { name } of tensors) this.#shardOf.set(name, shard);
    });
  }

  /** Keeps `data`, not a copy, until its shard is written. */
  async put(name: string, data: ArrayBufferView): Promise<void> {
    const shard = this.#shardOf.get(name);
    if (shard === undefined) throw new OchreError("INTERNAL", `[palettize] the plan must list ${name} but does not.`);
    const tensors = this.#plan[shard];
    const waiting = this.#waiting[shard];
    waiting.set(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    if (waiting.size < tensors.length) return;
    const file = encodeSafetensors(tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape, bytes: waiting.get(name)! })));
    waiting.clear();
    const fileName = this.#fileName(shard);
    this.#shards[shard] = { name: fileName, bytes: file.length, sha256: await sha256(file) };
    await this.#sink.write(fileName, file);
  }

  /** @throws OchreError INTERNAL where a planned tensor never came. */
  index(): ShardIndex {
    const missing = this.#plan.findIndex((_, shard) => this.#shards[shard] === undefined);
    if (missing >= 0) throw new OchreError("INTERNAL", `[palettize] ${this.#fileName(missing)} must be whole but is not.`);
    return {
      metadata: { total_size: this.#plan.flat().reduce((sum, { bytes }) => sum + bytes, 0) },
      weight_map: Object.fromEntries([...this.#shardOf].map(([name, shard]) => [name, this.#fileName(shard)])),
      shards: this.#shards,
    };
  }

  #fileName(shard: number): string {
    const five = (n: number) => String(n).padStart(5, "0");
    return `model-${five(shard + 1)}-of-${five(this.#plan.length)}.safetensors`;
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
