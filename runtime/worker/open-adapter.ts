/** An adapter from a URL, or from files, to weights: two files as PEFT writes them. */
import { bytesSource } from "../formats/byte-source";
import { readPeft } from "../formats/peft";
import { RETRY_DELAYS_MS } from "../store/download";
import { filesFetch } from "../store/local";
import { fetchBytes, fetchJson } from "../store/transfer";
import type { HostParts } from "./host";

export const openAdapter: HostParts["openAdapter"] = async ({ name, url, files }, config, signal) => {
  const transfer = { fetch: files ? filesFetch(files) : fetch, signal, retryDelaysMs: RETRY_DELAYS_MS };
  const [peft, weights] = await Promise.all([
    fetchJson(transfer, `${url}/adapter_config.json`),
    fetchBytes(transfer, `${url}/adapter_model.safetensors`),
  ]);
  return readPeft(name, { config: peft, weights: bytesSource(`${name}: adapter_model.safetensors`, weights) }, config);
};
