/** From a URL, or files, to everything that the host needs of a model short of a GPU: store, formats and text put together. */
import { parseConfig } from "../engine/config";
import { OchreError } from "../errors";
import { openSafetensors } from "../formats/safetensors";
import { fetchModel } from "../store/download";
import { filesFetch, isLocalUrl, noFiles } from "../store/local";
import { modelName } from "../store/model-url";
import { openStore } from "../store/store";
import { chatText } from "./chat-text";
import type { HostParts } from "./host";

export const openModel: HostParts["openModel"] = async ({ url, files: given, cache = true, averageBits }, onProgress, signal) => {
  const store = cache ? await openStore() : null;
  const storedOnly = isLocalUrl(url) && !given;
  if (storedOnly && !(await store?.getModel(url))?.complete) throw gone(url);
  const fetch = given ? filesFetch(given) : storedOnly ? noFiles : undefined;
  // Which of the last planes are left away is known once the palettes are here.
  const wanted = averageBits === undefined ? undefined : (tensor: string) => !LAST_PLANES.test(tensor);
  const stored = await fetchModel(url, { store, wanted, onProgress, signal, fetch });
  const { files } = stored;
  const config = parseConfig(files);
  const name = modelName(url);
  return {
    name,
    config,
    text: chatText(files, config.V),
    checkpoint: await openSafetensors(name, stored.shardSources(), files),
    times: stored.times,
    get fromCache() {
      return stored.fromCache;
    },
  };
};

const LAST_PLANES = /\.plane[12]$/;

const gone = (url: string): OchreError =>
  new OchreError(
    "INVALID_ARGUMENT",
    `[load] ${modelName(url)} was made of files on this device and must still be stored but is not: choose the files again.`,
    { details: { url } },
  );
