/** From a URL, or files, to everything that the host needs of a model short of a GPU: store, formats and text put together. */
import { parseConfig } from "../engine/config";
import { OchreError } from "../errors";
import { openSafetensors } from "../formats/safetensors";
import { fetchModel } from "../store/download";
import { isLocalUrl, noFiles } from "../store/local";
import { modelName } from "../store/model-url";
import { openStore } from "../store/store";
import { chatText } from "./chat-text";
import { compileFiles, type ReadyFiles } from "./compile-files";
import type { HostParts } from "./host";

export const openModel: HostParts["openModel"] = async (request, onProgress, signal) => {
  const { source, palettize = {}, cache = true } = request;
  const store = cache ? await openStore() : null;
  const { url, fetch, palettized }: Partial<ReadyFiles> & { url: string } =
    typeof source === "string"
      ? { url: source, fetch: isLocalUrl(source) ? noFiles : undefined }
      : await compileFiles(source, palettize, store, onProgress, signal);
  if (fetch === noFiles && !(await store?.getModel(url))?.complete) throw gone(url);
  const stored = await fetchModel(url, { store, onProgress, signal, fetch });
  const { files } = stored;
  const config = parseConfig(files);
  const name = modelName(url);
  return {
    name,
    config,
    text: chatText(files, config.V),
    checkpoint: await openSafetensors(name, stored.shardSources(), files),
    times: stored.times,
    palettized,
    get fromCache() {
      return stored.fromCache;
    },
  };
};

const gone = (url: string): OchreError =>
  new OchreError(
    "INVALID_ARGUMENT",
    `[load] ${modelName(url)} was made of files on this device and must still be stored but is not: choose the files again.`,
    { details: { url } },
  );
