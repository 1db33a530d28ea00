import { version } from "../../package.json";
import { cache } from "../store/cache";
import OchreWorkerConstructor from "../worker/worker?worker&inline";
import { loadModel, type Model } from "./model";
import { resolveSource } from "./source";
import { isSupported, type Support } from "./support";
import type { LoadOptions } from "./types";

/** The entrance: everything else comes out of `Ochre.load()`. */
export const Ochre = {
  /**
   * Loads a model into a worker of its own and onto the GPU. Shards are verified and kept in IndexedDB, so a second
   * visit needs the network only to look for a newer revision, and inference needs none at all.
   *
   * @param source URL or path (relative to the document) of a model directory in Hugging Face layout, or a hub id:
   *   exactly `org/name`, which means that repository's main revision on huggingface.co. Write a path with a single
   *   slash as `./dir/model`.
   * @throws INVALID_ARGUMENT, GPU_UNAVAILABLE, GPU_MEMORY, DOWNLOAD_FAILED, CHECKSUM, MODEL_FORMAT, MODEL_UNSUPPORTED,
   *   TOKENIZER_MISMATCH, STORE_QUOTA, STORE_BLOCKED, or the signal's own reason.
   */
  load(source: string | URL, options: LoadOptions = {}): Promise<Model> {
    return loadModel(source, options, () => new OchreWorkerConstructor({ name: "ochre" }));
  },

  /** Whether a model can run here and, if not, why: for a page to show. Downloads nothing. */
  isSupported(): Promise<Support> {
    return isSupported(globalThis.navigator?.gpu, globalThis.isSecureContext);
  },

  /** The models stored on this device. `delete` takes what `load` takes. */
  cache: { ...cache, delete: async (source: string | URL): Promise<void> => cache.delete(resolveSource(source)) },

  version,
};
