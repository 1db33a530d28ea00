import { open } from "node:fs/promises";
import path from "node:path";
import { OchreError } from "../errors";
import { checkRange } from "../formats/byte-source";
import type { ByteSource } from "../formats/checkpoint";

export interface FileSource extends ByteSource {
  close(): Promise<void>;
}

/** Random access to a file on disk. Throws MODEL_FORMAT where it cannot be opened; the caller closes it. */
export async function openFileSource(file: string): Promise<FileSource> {
  const handle = await open(file, "r").catch((cause) => {
    throw new OchreError("MODEL_FORMAT", `[${file}] must be a readable file but cannot be opened (${cause.code}).`, { cause });
  });
  const name = path.basename(file);
  const { size } = await handle.stat();
  return {
    name,
    size,
    async read(offset, length) {
      checkRange(name, size, offset, length);
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; ) {
        const { bytesRead } = await handle.read(bytes, at, length - at, offset + at);
        // The file was cut while we held it open.
        if (bytesRead === 0) checkRange(name, offset + at, offset, length);
        at += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}
