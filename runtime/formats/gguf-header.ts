/**
 * GGUF, versions 2 and 3, little-endian (the specification is docs/gguf.md of ggml):
 *   magic "GGUF", u32 version, u64 tensors, u64 metadata entries,
 *   entries (string key, u32 type, value), tensor infos (string name, u32 n, u64 dims[n], u32 type, u64 offset),
 *   padding to `general.alignment`, data.
 * Strings and arrays carry a u64 count. Each count is checked against the file before memory is taken for it.
 */
import { OchreError } from "../errors";
import type { ByteSource, DType } from "./checkpoint";
import { BLOCKS, GGUF_TYPES } from "./dequantize";
import { formatError } from "./json";
import type { StoredTensor } from "./safetensors";

/** Headers hold a vocabulary, ten megabytes at the most; anything much longer is a mistake or an attack. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;
const FIRST_READ_BYTES = 2 ** 20;
const MAX_DIMS = 4;
const MAX_ALIGNMENT = 2 ** 20;
/** Tensors, and metadata entries: the largest models have some thousands. */
const MAX_ENTRIES = 2 ** 16;
/** Array items over the whole header; the largest vocabularies with merges and types come to a million. */
const MAX_ITEMS = 2 ** 23;
/** The least that a metadata entry and a tensor info can take. */
const MIN_ENTRY_BYTES = 13;
const MIN_TENSOR_BYTES = 24;

/** ggml's element types by number; those that are no DType are named only for the message. */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  6: "Q5_0",
  7: "Q5_1",
  8: "Q8_0",
  10: "Q2_K",
  11: "Q3_K",
  12: "Q4_K",
  13: "Q5_K",
  14: "Q6_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  29: "IQ1_M",
  30: "BF16",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

export interface GgufHeader {
  readonly version: number;
  /**
   * Numbers as number (64-bit ones beyond 2^53 as bigint), strings, booleans; arrays of strings as string[], of numbers
   * as number[] or, for 64-bit integers, (number | bigint)[], of booleans as boolean[].
   */
  readonly metadata: ReadonlyMap<string, unknown>;
  /** In file order, under the names of the file, shapes row-major (GGUF writes the innermost dimension first). */
  readonly tensors: readonly StoredTensor[];
}

/**
 * Reads and checks the header in ranged pieces that double. Throws MODEL_FORMAT for a header that lies or is cut short,
 * MODEL_UNSUPPORTED for another version, byte order or element type.
 */
export async function parseGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const limit = Math.min(source.size, MAX_HEADER_BYTES);
  for (let length = Math.min(limit, FIRST_READ_BYTES); ; length = Math.min(limit, length * 2)) {
    const reader = new Reader(source, await source.read(0, length), length === limit);
    try {
      return parse(source, reader);
    } catch (error) {
      if (error !== NEEDS_MORE) throw error;
    }
  }
}

/** Thrown by a Reader whose piece of the header ended too soon. */
const NEEDS_MORE = Symbol("needs more of the header");

class Reader {
  at = 0;
  private items = 0;
  private readonly data: DataView;
  private readonly utf8 = new TextDecoder();

  constructor(
    private readonly source: ByteSource,
    private readonly bytes: Uint8Array,
    /** There is no more to be had. */
    private readonly last: boolean,
  ) {
    this.data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Moves on by `length` bytes, `count` times over, and returns where they start. */
  take(length: number, count = 1): number {
    const start = this.at;
    const end = start + length * count;
    if (end > this.bytes.length) {
      if (this.last || end > Math.min(this.source.size, MAX_HEADER_BYTES))
        throw formatError(
          this.source.name,
          `the header asks for ${length * count} bytes at ${start}, beyond ${this.source.size > MAX_HEADER_BYTES ? "64 MiB" : "the end of the file"}. Is it whole?`,
        );
      throw NEEDS_MORE;
    }
    this.at = end;
    return start;
  }

  u32 = (): number => this.data.getUint32(this.take(4), true);

  u64(): number | bigint {
    const value = this.data.getBigUint64(this.take(8), true);
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }

  i64(): number | bigint {
    const value = this.data.getBigInt64(this.take(8), true);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  /** A count, length or offset: a u64 that must be at most `max`. */
  count(what: string, max: number): number {
    const value = this.u64();
    if (typeof value === "bigint" || value > max)
      throw formatError(this.source.name, `${what} must be at most ${max} but is ${value}. Is the file damaged?`);
    return value;
  }

  string(what: string): string {
    const length = this.count(`the length of ${what}`, this.source.size);
    const start = this.take(length);
    return this.utf8.decode(this.bytes.subarray(start, start + length));
  }

  value(type: number, key: string): unknown {
    switch (type) {
      case 0:
        return this.data.getUint8(this.take(1));
      case 1:
        return this.data.getInt8(this.take(1));
      case 2:
        return this.data.getUint16(this.take(2), true);
      case 3:
        return this.data.getInt16(this.take(2), true);
      case 4:
        return this.u32();
      case 5:
        return this.data.getInt32(this.take(4), true);
      case 6:
        return this.data.getFloat32(this.take(4), true);
      case 7:
        return this.data.getUint8(this.take(1)) !== 0;
      case 8:
        return this.string(`the value of ${key}`);
      case 9:
        return this.array(key);
      case 10:
        return this.u64();
      case 11:
        return this.i64();
      case 12:
        return this.data.getFloat64(this.take(8), true);
      default:
        throw formatError(this.source.name, `metadata "${key}" has type ${type}, which GGUF has not. Is the file damaged?`);
    }
  }

  private array(key: string): unknown[] {
    const type = this.u32();
    const bytes = VALUE_BYTES[type];
    if (!bytes) throw formatError(this.source.name, `metadata "${key}" is an array of type ${type}, which is not read.`);
    const count = this.count(`the count of ${key}`, Math.min(MAX_ITEMS - this.items, Math.floor(this.source.size / bytes)));
    this.items += count;
    // Wait for a piece that can hold the array before building any of it.
    const start = this.take(bytes, count);
    this.at = start;
    const values: unknown[] = [];
    for (let i = 0; i < count; i++) values.push(this.value(type, key));
    return values;
  }
}

/** Bytes of one array element by type; a string takes its length at least. Arrays of arrays are not read. */
const VALUE_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8];

function parse(source: ByteSource, reader: Reader): GgufHeader {
  const fail = (what: string) => formatError(source.name, what);
  if (source.size < 24 || reader.u32() !== 0x46554747) throw fail('must begin with "GGUF" but does not. Is this a GGUF file?');
  const version = reader.u32();
  if (version !== 2 && version !== 3)
    throw new OchreError(
      "MODEL_UNSUPPORTED",
      `[${source.name}] GGUF must be version 2 or 3 and little-endian but its version reads ${version}.`,
    );
  const tensorCount = reader.count("the number of tensors", Math.min(MAX_ENTRIES, Math.floor(source.size / MIN_TENSOR_BYTES)));
  const entryCount = reader.count(
    "the number of metadata entries",
    Math.min(MAX_ENTRIES, Math.floor(source.size / MIN_ENTRY_BYTES)),
  );

  const metadata = new Map<string, unknown>();
  for (let i = 0; i < entryCount; i++) {
    const key = reader.string("a metadata key");
    if (metadata.has(key)) throw fail(`metadata "${key}" is given twice.`);
    metadata.set(key, reader.value(reader.u32(), key));
  }
  const infos: StoredTensor[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const info = parseTensorInfo(source, reader);
    if (names.has(info.name)) throw fail(`tensor "${info.name}" is given twice.`);
    names.add(info.name);
    infos.push(info);
  }

  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || !(alignment >= 1 && alignment <= MAX_ALIGNMENT) || (alignment & (alignment - 1)) !== 0)
    throw fail(`general.alignment must be a power of two up to ${MAX_ALIGNMENT} but is ${alignment}.`);
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  const tensors = infos.map((info) => ({ ...info, offset: dataStart + info.offset })).sort((a, b) => a.offset - b.offset);
  let end = dataStart;
  for (const { name, dtype, offset, bytes } of tensors) {
    if ((offset - dataStart) % alignment !== 0) throw fail(`tensor "${name}" must start at a multiple of ${alignment}.`);
    if (offset < end) throw fail(`tensor "${name}" must start at byte ${end} or later but starts at ${offset}.`);
    end = offset + bytes;
    if (end > source.size)
      throw fail(
        `tensor "${name}" (${dtype}) ends at byte ${end} but the file has ${source.size}. Is it cut short? Download it again.`,
      );
  }
  return { version, metadata, tensors };
}

/** Offset still counted from the start of the data. */
function parseTensorInfo(source: ByteSource, reader: Reader): StoredTensor {
  const name = reader.string("a tensor name");
  const dims = reader.u32();
  if (dims > MAX_DIMS)
    throw formatError(source.name, `tensor "${name}" must have at most ${MAX_DIMS} dimensions but has ${dims}.`);
  const shape: number[] = [];
  let values = 1;
  for (let i = 0; i < dims; i++) {
    shape.unshift(reader.count(`a dimension of "${name}"`, Number.MAX_SAFE_INTEGER));
    values *= shape[0];
  }
  const type = reader.u32();
  const dtype = TYPE_NAMES[type] as DType | undefined;
  if (dtype === undefined || !GGUF_TYPES.includes(dtype))
    throw new OchreError(
      "MODEL_UNSUPPORTED",
      `[${source.name}] tensor "${name}" has type ${dtype ?? type}; readable are ${GGUF_TYPES.join(", ")}.`,
      { details: { tensor: name, type: dtype ?? type } },
    );
  const block = BLOCKS[dtype];
  if ((shape.at(-1) ?? 1) % block.values !== 0)
    throw formatError(
      source.name,
      `rows of "${name}" must be whole ${dtype} blocks of ${block.values} values but have ${shape.at(-1)}.`,
    );
  const bytes = (values / block.values) * block.bytes;
  if (!(bytes <= source.size))
    throw formatError(
      source.name,
      `tensor "${name}" [${shape}] of ${dtype} takes ${bytes} bytes but the file has ${source.size}.`,
    );
  return { name, dtype, shape, bytes, offset: reader.count(`the offset of "${name}"`, source.size) };
}
