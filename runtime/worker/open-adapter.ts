/** An adapter from a URL, or from files, to weights: two files as PEFT writes them. */
import { bytesSource } from "../formats/byte-source";
import { readPeft } from "../formats/peft";
import { fetchAdapter } from "../store/fetch-adapter";
import { filesFetch } from "../store/local";
import { withStore } from "../store/store";
import type { HostParts } from "./host";

export const openAdapter: HostParts["openAdapter"] = async ({ name, url, files, cache }, config, signal) => {
  const { config: peft, weights } =
    cache && !files
      ? await withStore((store) => fetchAdapter(url, { store, signal }))
      : await fetchAdapter(url, { store: null, signal, fetch: files && filesFetch(files) });
  return readPeft(name, { config: peft, weights: bytesSource(`${name}: adapter_model.safetensors`, weights) }, config);
};
