import { OchreError } from "../errors";
import { checkRange } from "../formats/byte-source";
import type { ByteSource } from "../formats/checkpoint";

/** Enough for a reader that goes back and forth between two neighbouring shards. */
const SHARDS_IN_MEMORY = 2;
/** The first guess at how long a safetensors header is; a longer one costs a second request. */
const HEAD_BYTES = 64 * 2 ** 10;
/** A header beyond this is not worth a request of its own: the whole shard is read instead. */
const MAX_HEAD_BYTES = 2 * 2 ** 20;

interface ShardSize {
  name: string;
  bytes: number;
}
type Head = (length: number) => Promise<Uint8Array>;

/**
 * Random access to shards that are given whole, with at most two of them in memory.
 *
 * A checkpoint reader looks at every header before it reads the first tensor. Where a whole shard comes over the network
 * (`headOf` gives a way to its beginning), that would transfer the model twice, so headers are fetched alone; since only a whole shard can be
 * verified, its header is compared with the one given out earlier, and CHECKSUM is thrown where they differ.
 */
export function shardSources(
  shards: readonly ShardSize[],
  whole: (name: string) => Promise<ArrayBuffer>,
  headOf: (name: string) => Head | undefined = () => undefined,
): ByteSource[] {
  const recent = new Map<string, Promise<Uint8Array>>();

  const load = (name: string, check: (bytes: Uint8Array) => Promise<void>): Promise<Uint8Array> => {
    const bytes =
      recent.get(name) ??
      whole(name).then(async (buffer) => {
        const loaded = new Uint8Array(buffer);
        await check(loaded);
        return loaded;
      });
    // Taken out and put back, so that the first key is the one unused for longest.
    recent.delete(name);
    for (const oldest of recent.keys()) if (recent.size >= SHARDS_IN_MEMORY) recent.delete(oldest);
    recent.set(name, bytes);
    bytes.catch(() => recent.get(name) === bytes && recent.delete(name));
    return bytes;
  };

  return shards.map(({ name, bytes: size }) => {
    let header: Promise<Uint8Array | undefined> | undefined;
    const checkHeader = async (bytes: Uint8Array) => {
      const early = await header;
      if (early?.some((byte, i) => byte !== bytes[i]))
        throw new OchreError("CHECKSUM", `[download] ${name} changed on the server while it was being loaded. Load again.`);
    };
    return {
      name,
      size,
      async read(offset, length) {
        checkRange(name, size, offset, length);
        const head = recent.has(name) ? undefined : headOf(name);
        if (head) {
          header ??= fetchHeader(head, size);
          header.catch(() => {
            header = undefined;
          });
          const early = await header;
          if (early && offset + length <= early.length) return early.subarray(offset, offset + length);
        }
        return (await load(name, checkHeader)).subarray(offset, offset + length);
      },
    };
  });
}

/** A safetensors file's header with its 8 bytes of length; undefined where the length cannot be right or is very long. */
async function fetchHeader(head: Head, size: number): Promise<Uint8Array | undefined> {
  const first = await head(Math.min(size, HEAD_BYTES));
  if (first.length < 8) return undefined;
  const end = 8 + Number(new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true));
  if (end > Math.min(size, MAX_HEAD_BYTES)) return undefined;
  return end <= first.length ? first.slice(0, end) : head(end);
}
