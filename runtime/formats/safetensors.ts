/**
 * Safetensors: 8 bytes of header length (u64, little-endian), a JSON header, then the tensors' bytes without gaps.
 *   { "__metadata__": { … }, "NAME": { "dtype": "F16", "shape": [rows, cols], "data_offsets": [begin, end] } }
 * Every number in a header is checked against the file before anything is allocated from it.
 */
import { OchreError } from "../errors";
import type { ByteSource, Checkpoint, CheckpointFiles, DType, TensorInfo } from "./checkpoint";
import { BLOCKS, dequantize } from "./dequantize";
import { brief, formatError, isObject, type JsonObject, parseJsonObject } from "./json";

/** The format's own limit: a longer header is a mistake or an attack. */
const MAX_HEADER_BYTES = 100_000_000;
/** Small tensors that lie side by side are read together, up to this many bytes. */
const PIECE_BYTES = 8 * 2 ** 20;

const READABLE: ReadonlySet<string> = new Set<DType>([
  "F64",
  "F32",
  "F16",
  "BF16",
  "I64",
  "I32",
  "I16",
  "I8",
  "U8",
  "U32",
  "BOOL",
]);
/** Types that the format defines and no supported checkpoint uses. */
const UNREAD = /^(U16|U64|C64|F8_\w+|F6_\w+|F4)$/;

export interface StoredTensor extends TensorInfo {
  /** First byte, counted from the start of the file. */
  readonly offset: number;
}

export interface SafetensorsHeader {
  /** In file order. */
  readonly tensors: readonly StoredTensor[];
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads and checks the header of one safetensors file.
 * Throws MODEL_FORMAT for a header that lies or is cut short, MODEL_UNSUPPORTED for an element type that we do not read.
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  if (source.size < 8) throw formatError(source.name, `a safetensors file has at least 8 bytes but this one has ${source.size}.`);
  const prefix = await source.read(0, 8);
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES || length > source.size - 8)
    throw formatError(
      source.name,
      `the header length must be at most ${Math.min(MAX_HEADER_BYTES, source.size - 8)} but is ${length}. Is this safetensors, and whole?`,
      { length, size: source.size },
    );
  const header = parseHeaderJson(source.name, await source.read(8, length));

  const metadata = new Map<string, string>();
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (!isObject(entry)) throw formatError(source.name, `the header entry of "${name}" must be an object.`);
    if (name === "__metadata__") {
      for (const [key, value] of Object.entries(entry)) if (typeof value === "string") metadata.set(key, value);
    } else tensors.push(parseEntry(source.name, name, entry, 8 + length));
  }
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);

  let end = 8 + length;
  for (const { name, offset, bytes } of tensors) {
    if (offset !== end)
      throw formatError(source.name, `"${name}" must begin at byte ${end} but begins at ${offset}.`, { tensor: name });
    end += bytes;
  }
  if (end !== source.size)
    throw formatError(source.name, `the header describes ${end} bytes but the file has ${source.size}. Download it again.`, {
      expected: end,
      size: source.size,
    });
  return { tensors, metadata };
}

function parseHeaderJson(source: string, bytes: Uint8Array): JsonObject {
  let json: string;
  try {
    json = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw formatError(source, "the header must be JSON in UTF-8. Is this a safetensors file?", {}, cause);
  }
  return parseJsonObject(`${source}: header`, json);
}

function parseEntry(source: string, name: string, entry: JsonObject, dataStart: number): StoredTensor {
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !READABLE.has(dtype)) {
    if (typeof dtype === "string" && UNREAD.test(dtype))
      throw new OchreError("MODEL_UNSUPPORTED", `[${source}] "${name}" is ${dtype}; readable are ${[...READABLE].join(", ")}.`, {
        details: { tensor: name, dtype },
      });
    throw formatError(source, `the dtype of "${name}" must be one of ${[...READABLE].join(", ")} but is ${brief(dtype)}.`, {
      tensor: name,
    });
  }
  if (!isSizes(shape))
    throw formatError(source, `the shape of "${name}" must be at most 8 whole numbers from 0 up.`, { tensor: name });
  if (!isSizes(offsets) || offsets.length !== 2)
    throw formatError(source, `data_offsets of "${name}" must be two whole numbers.`, { tensor: name });
  const [begin, end] = offsets;
  const bytes = shape.reduce((product, n) => product * n, BLOCKS[dtype as DType].bytes);
  if (end - begin !== bytes)
    throw formatError(source, `"${name}" [${shape}] of ${dtype} takes ${bytes} bytes but its data_offsets span ${end - begin}.`, {
      tensor: name,
    });
  return { name, dtype: dtype as DType, shape, bytes, offset: dataStart + begin };
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 8 && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/**
 * One checkpoint over one or many safetensors files, in load order.
 * Throws what readSafetensorsHeader throws, and MODEL_FORMAT where two shards hold the same tensor.
 */
export async function openSafetensors(name: string, sources: readonly ByteSource[], files: CheckpointFiles): Promise<Checkpoint> {
  const shards: { source: ByteSource; tensors: readonly StoredTensor[] }[] = [];
  const tensors = new Map<string, TensorInfo>();
  const places = new Map<string, { source: ByteSource; tensor: StoredTensor }>();
  for (const source of sources) {
    const header = await readSafetensorsHeader(source);
    shards.push({ source, tensors: header.tensors });
    for (const tensor of header.tensors) {
      const earlier = places.get(tensor.name);
      if (earlier) throw formatError(source.name, `"${tensor.name}" is also in ${earlier.source.name}.`, { tensor: tensor.name });
      places.set(tensor.name, { source, tensor });
      tensors.set(tensor.name, infoOf(tensor));
    }
  }

  const readBytes = async (tensorName: string): Promise<Uint8Array> => {
    const place = places.get(tensorName);
    if (!place) throw formatError(name, `there is no tensor "${tensorName}".`, { tensor: tensorName });
    return place.source.read(place.tensor.offset, place.tensor.bytes);
  };
  return {
    name,
    files,
    tensors,
    readBytes,
    async read(tensorName) {
      const bytes = await readBytes(tensorName);
      return dequantize(tensors.get(tensorName)!.dtype, bytes);
    },
    async *stream(wanted = () => true) {
      for (const shard of shards) {
        const needed = shard.tensors.filter((tensor) => wanted(tensor.name));
        for await (const { tensor, bytes } of streamTensors(shard.source, needed))
          yield { info: tensors.get(tensor.name)!, bytes };
      }
    },
  };
}

const infoOf = ({ name, dtype, shape, bytes }: StoredTensor): TensorInfo => ({ name, dtype, shape, bytes });

/**
 * The bytes of `tensors`, which lie in file order, in reads of up to 8 MiB or one tensor, whichever is larger.
 * The bytes given start at a multiple of 8 in their buffer, so any typed array can be laid over them.
 */
export async function* streamTensors<T extends StoredTensor>(
  source: ByteSource,
  tensors: readonly T[],
): AsyncIterable<{ tensor: T; bytes: Uint8Array }> {
  for (let first = 0, next = 0; first < tensors.length; first = next) {
    const start = tensors[first].offset;
    let end = start;
    for (next = first; next < tensors.length; next++) {
      const last = tensors[next].offset + tensors[next].bytes;
      if (next > first && last - start > PIECE_BYTES) break;
      end = Math.max(end, last);
    }
    const piece = await source.read(start, end - start);
    for (const tensor of tensors.slice(first, next)) {
      const bytes = piece.subarray(tensor.offset - start, tensor.offset - start + tensor.bytes);
      yield { tensor, bytes: bytes.byteOffset % 8 ? bytes.slice() : bytes };
    }
  }
}

export interface TensorToWrite {
  name: string;
  dtype: DType;
  shape: readonly number[];
  /** Little-endian, row-major. */
  bytes: Uint8Array;
}

/**
 * One safetensors file: tensors in the order given, header padded with spaces so that the data starts at a multiple of 8.
 * Throws INVALID_ARGUMENT for a name given twice, a type that safetensors has not, or bytes that do not fit the shape.
 */
export function encodeSafetensors(
  tensors: readonly TensorToWrite[],
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const entries = metadata ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  const names = new Set(["__metadata__"]);
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    const expected = shape.reduce((product, n) => product * n, BLOCKS[dtype].bytes);
    if (names.has(name) || !READABLE.has(dtype) || bytes.length !== expected)
      throw new OchreError(
        "INVALID_ARGUMENT",
        `[safetensors] "${name}" ${dtype} [${shape}] must be new, of a safetensors type and ${expected} bytes but has ${bytes.length}.`,
      );
    names.add(name);
    const offsets = [end, end + bytes.length];
    // Written entry by entry: an object would put names like "0" first and lose the order.
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: offsets })}`);
    end += bytes.length;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(json, 8);
  file.fill(0x20, 8 + json.length, 8 + headerBytes);
  let at = 8 + headerBytes;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}
