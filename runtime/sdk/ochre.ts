import { version } from "../../package.json";
import { cache } from "../store/cache";
import compilerUrl from "../worker/compiler?worker&url";
import OchreWorkerConstructor from "../worker/worker?worker&inline";
import { loadModel, type Model } from "./model";
import { resolveUrl } from "./source";
import { isSupported, type Support } from "./support";
import type { LoadOptions, ModelSource } from "./types";

/** The entrance: everything else comes out of `Ochre.load()`. */
export const Ochre = {
  /**
   * Loads a model into a worker of its own and onto the GPU. Shards are verified and kept in IndexedDB, so a second
   * visit needs the network only to look for a newer revision, and inference needs none at all.
   *
   * @param source URL or path (relative to the document) of a model directory in Hugging Face layout, or a hub id:
   *   exactly `org/name`, which means that repository's main revision on huggingface.co. Write a path with a single
   *   slash as `./dir/model`. Or the user's own files: a GGUF file, safetensors with config.json and tokenizer.json, or their
   *   folder, as `File`s or handles. A plain checkpoint is palettized first, in the worker, and stored; a second visit finds it by
   *   the same files, or without them by its URL in `cache.list()`.
   * @throws INVALID_ARGUMENT, GPU_UNAVAILABLE, GPU_MEMORY, DOWNLOAD_FAILED, CHECKSUM, MODEL_FORMAT, MODEL_UNSUPPORTED,
   *   TOKENIZER_MISMATCH, STORE_QUOTA, STORE_BLOCKED, or the signal's own reason.
   */
  load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    return loadModel(source, options, () => new OchreWorkerConstructor({ name: "ochre" }), spawnCompiler);
  },

  /** Whether a model can run here and, if not, why: for a page to show. Downloads nothing. */
  isSupported(): Promise<Support> {
    return isSupported(globalThis.navigator?.gpu, globalThis.isSecureContext);
  },

  /** The models stored on this device. `delete` takes what `load` takes. */
  cache: { ...cache, delete: async (source: string | URL): Promise<void> => cache.delete(resolveUrl(source)) },

  version,
};

/** From a file beside this one, which only visitors with files of their own fetch. */
function spawnCompiler(): Worker {
  const name = "ochre compiler";
  // Vite's own server gives modules.
  if (import.meta.env.DEV) return new Worker(compilerUrl, { name, type: "module" });
  // By way of a blob, since a worker may not come from another origin, as this file may.
  const script = URL.createObjectURL(new Blob([`importScripts(${JSON.stringify(compilerUrl)})`], { type: "text/javascript" }));
  return new Worker(script, { name });
}
