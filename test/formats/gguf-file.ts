/** Writes GGUF files for tests, good ones and bad ones: nothing is checked here. */

export interface GgufValue {
  type: number;
  value: number | bigint | string | boolean | { type: number; items: readonly (number | bigint | string)[] };
}

export interface GgufTensorToWrite {
  name: string;
  /** Row-major; the file gets them innermost first. */
  shape: readonly number[];
  /** ggml's number: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 8 Q8_0, 30 BF16. */
  type: number;
  bytes: Uint8Array;
  /** Where the file should claim that it starts, instead of where it does. */
  offset?: number;
}

export const u32 = (value: number): GgufValue => ({ type: 4, value });
export const f32 = (value: number): GgufValue => ({ type: 6, value });
export const string = (value: string): GgufValue => ({ type: 8, value });
export const strings = (items: readonly string[]): GgufValue => ({ type: 9, value: { type: 8, items } });
export const i32s = (items: readonly number[]): GgufValue => ({ type: 9, value: { type: 5, items } });

export class GgufWriter {
  private readonly bytes: number[] = [];

  private data(length: number, set: (view: DataView) => void): this {
    const view = new DataView(new ArrayBuffer(length));
    set(view);
    return this.raw(new Uint8Array(view.buffer));
  }

  raw(bytes: Uint8Array): this {
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  u32 = (value: number): this => this.data(4, (view) => view.setUint32(0, value, true));
  u64 = (value: number | bigint): this => this.data(8, (view) => view.setBigUint64(0, BigInt(value), true));

  string(text: string): this {
    const utf8 = new TextEncoder().encode(text);
    return this.u64(utf8.length).raw(utf8);
  }

  value(type: number, value: GgufValue["value"]): this {
    if (typeof value === "string") return this.string(value);
    if (typeof value === "object") {
      this.u32(value.type).u64(value.items.length);
      for (const item of value.items) this.value(value.type, item);
      return this;
    }
    const n = Number(value);
    switch (type) {
      case 0:
      case 1:
      case 7:
        return this.raw(Uint8Array.of(n));
      case 2:
      case 3:
        return this.data(2, (view) => view.setUint16(0, n, true));
      case 6:
        return this.data(4, (view) => view.setFloat32(0, n, true));
      case 10:
      case 11:
        return this.data(8, (view) => view.setBigInt64(0, BigInt(value), true));
      case 12:
        return this.data(8, (view) => view.setFloat64(0, n, true));
      default:
        return this.u32(n);
    }
  }

  pad(alignment: number): this {
    while (this.bytes.length % alignment) this.bytes.push(0);
    return this;
  }

  done = (): Uint8Array => Uint8Array.from(this.bytes);
}

export function encodeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensorToWrite[],
  { version = 3, alignment = 32 } = {},
): Uint8Array {
  const writer = new GgufWriter().u32(0x46554747).u32(version).u64(tensors.length).u64(Object.keys(metadata).length);
  for (const [key, { type, value }] of Object.entries(metadata)) writer.string(key).u32(type).value(type, value);
  let offset = 0;
  for (const { name, shape, type, bytes, offset: claimed } of tensors) {
    writer.string(name).u32(shape.length);
    for (const n of [...shape].reverse()) writer.u64(n);
    writer.u32(type).u64(claimed ?? offset);
    offset = Math.ceil((offset + bytes.length) / alignment) * alignment;
  }
  for (const { bytes } of tensors) writer.pad(alignment).raw(bytes);
  return writer.done();
}
