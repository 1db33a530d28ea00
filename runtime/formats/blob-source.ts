import { checkRange } from "./byte-source";
import type { ByteSource } from "./checkpoint";
import { formatError } from "./json";

/** A ByteSource over a file that a visitor chose: each read fetches its slice alone. Rejects with MODEL_FORMAT where it is gone. */
export function blobSource(name: string, blob: Blob): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(name, blob.size, offset, length);
      const slice = blob.slice(offset, offset + length);
      const bytes = await slice.arrayBuffer().catch((cause) => {
        throw formatError(name, "cannot be read any more: it was changed, moved or deleted. Choose it again.", {}, cause);
      });
      return new Uint8Array(bytes);
    },
  };
}
