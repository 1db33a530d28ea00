import { OchreError } from "../errors";
import type { ByteSource } from "./checkpoint";

/** A ByteSource over bytes already in memory. Reads are views, not copies. Rejects with MODEL_FORMAT beyond the end. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    async read(offset, length) {
      checkRange(name, bytes.length, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** Throws MODEL_FORMAT unless bytes [offset, offset + length) lie inside a file of `size` bytes. */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return;
  throw new OchreError(
    "MODEL_FORMAT",
    `[${name}] bytes ${offset} to ${offset + length} were asked for but the file has ${size}. Is it cut short?`,
    { details: { size, offset, length } },
  );
}
