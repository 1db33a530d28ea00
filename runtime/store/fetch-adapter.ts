/** A LoRA adapter's two files: from the network, so that a new revision is seen, or offline from the store. */
import { RETRY_DELAYS_MS } from "./download";
import { sha256 } from "./hash";
import type { AdapterRecord } from "./schema";
import type { Store } from "./store";
import { fetchBytes, fetchJson, isTransient } from "./transfer";

/** Of all adapters that are kept: about twenty of rank 16 on a model of 135 million weights. */
const BUDGET_BYTES = 256 * 2 ** 20;

export interface FetchAdapterOptions {
  /** Null keeps nothing. */
  store: Store | null;
  fetch?: typeof globalThis.fetch;
  signal?: AbortSignal;
  retryDelaysMs?: readonly number[];
}

/**
 * @param url the adapter's directory, absolute, without a trailing slash.
 * Throws DOWNLOAD_FAILED, MODEL_FORMAT, STORE_BLOCKED, or the signal's reason.
 */
export async function fetchAdapter(
  url: string,
  { store, fetch = globalThis.fetch, signal, retryDelaysMs = RETRY_DELAYS_MS }: FetchAdapterOptions,
): Promise<Pick<AdapterRecord, "config" | "weights">> {
  const stored = await store?.getAdapter(url);
  const sound = stored && (await sha256(stored.weights as BufferSource)) === stored.sha256 ? stored : undefined;
  // With a stored copy at hand an offline visit need not wait for further tries.
  const transfer = { fetch, signal, retryDelaysMs: sound ? [] : retryDelaysMs };
  const lastUsedAt = Date.now();
  let found = sound;
  try {
    const [config, weights] = await Promise.all([
      fetchJson(transfer, `${url}/adapter_config.json`),
      fetchBytes(transfer, `${url}/adapter_model.safetensors`),
    ]);
    found = { url, config, weights, sha256: await sha256(weights as BufferSource), lastUsedAt };
  } catch (error) {
    if (!found || !isTransient(error)) throw error;
  }
  // An adapter is small and can be fetched again: a full disk is no reason to go without.
  await store?.putAdapter({ ...found, lastUsedAt }, BUDGET_BYTES).catch((error) => {
    if (error.code !== "STORE_QUOTA") throw error;
  });
  return found;
}
