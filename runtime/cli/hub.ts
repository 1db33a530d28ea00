/** A checkpoint from a Hugging Face-style hub: `hub:OWNER/NAME[@REVISION]` to a directory in the cache that openCheckpoint reads. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { parseConfig } from "../engine/config";
import { OchreError } from "../errors";
import { INDEX, SINGLE, shardNames } from "../formats/checkpoint-directory";
import { parseJsonObject } from "../formats/json";
import { describeFile, fetchFile, type Remote, type RemoteFile } from "./remote-file";

const PUBLIC_HUB = "https://huggingface.co";
const OPTIONAL_FILES = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
const RETRY_DELAYS_MS = [1000, 2000, 4000, 8000];

export interface HubModel {
  /** OWNER/NAME. */
  id: string;
  /** A branch, tag or commit. */
  revision: string;
}

export interface HubSettings {
  /** The hub's address. */
  url: string;
  /** Folder that keeps what was fetched, whole or in part. */
  cache: string;
  token?: string;
}

/** As the command line has them. */
export interface HubOptions {
  hub?: string;
  cache?: string;
}

export interface HubFetchOptions {
  signal?: AbortSignal;
  /** Bytes of weights; not called where the server keeps a size to itself. */
  onProgress?: (progress: { done: number; total: number; name: string }) => void;
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch;
  /** Waits before each further try after a network error, ms. */
  retryDelaysMs?: readonly number[];
}

/** The model that a source names; undefined where it is no `hub:`. Throws INVALID_ARGUMENT where it is one that makes no sense. */
export function parseHubModel(source: string): HubModel | undefined {
  if (!source.startsWith("hub:")) return undefined;
  const [, id, revision = "main"] = /^hub:(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w.-]*(?:\/\w[\w.-]*)*))?$/.exec(source) ?? [];
  if (id) return { id, revision };
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[hub] a source must be hub:OWNER/NAME or hub:OWNER/NAME@REVISION but is "${source}".`,
  );
}

/**
 * Settings from options, else from the variables that other programs for the hub read too (HF_ENDPOINT, HF_TOKEN), else the
 * public hub and the user's cache folder. Throws INVALID_ARGUMENT for an address that is no http(s) URL.
 */
export function hubSettings(options: HubOptions, env: NodeJS.ProcessEnv = process.env): HubSettings {
  const url = options.hub ?? (env.HF_ENDPOINT || PUBLIC_HUB);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new OchreError("INVALID_ARGUMENT", `[hub] --hub (or HF_ENDPOINT) must be an http or https URL but is "${url}".`);
  return {
    url: url.replace(/\/+$/, ""),
    cache: options.cache ?? path.join(env.XDG_CACHE_HOME || path.join(homedir(), ".cache"), "ochre", "hub"),
    token: env.HF_TOKEN || undefined,
  };
}

/**
 * Fetches config.json, the tokenizer's files and the weights (one model.safetensors, or the index and its shards), what is
 * there already excepted. All come from one commit where the hub tells which, even if the branch moves meanwhile; a model
 * beyond this version is refused before its weights are fetched. After a failure or an abort the next call goes on from there.
 * @returns the directory, and the commit (or the revision asked for, where the hub names none).
 * Throws DOWNLOAD_FAILED, CHECKSUM, MODEL_FORMAT, MODEL_UNSUPPORTED, or the signal's reason.
 */
export async function fetchFromHub(
  { id, revision: asked }: HubModel,
  { url, cache, token }: HubSettings,
  { signal, onProgress, fetch = globalThis.fetch, retryDelaysMs = RETRY_DELAYS_MS }: HubFetchOptions = {},
): Promise<{ directory: string; revision: string }> {
  const remote: Remote = { fetch, token, signal, retryDelaysMs };
  let revision = asked;
  const describe = (name: string) => describeFile(remote, `${url}/${id}/resolve/${encodeURIComponent(revision)}/${name}`);

  const { commit } = await describe("config.json").catch((error) => {
    throw isMissing(error) ? noModelError(id, asked, url, error) : error;
  });
  if (commit && /^[0-9a-f]{7,64}$/.test(commit)) revision = commit;
  const directory = path.join(cache, id.replace("/", "--"), encodeURIComponent(revision));
  await mkdir(directory, { recursive: true });
  const pathOf = (name: string) => path.join(directory, name);
  const read = async (name: string) => parseJsonObject(name, await readFile(pathOf(name), "utf8"));
  /** False where the model has no such file; then none stays from another time. */
  const fetchOptional = async (name: string): Promise<boolean> => {
    const file = await describe(name).catch((error) => {
      if (!isMissing(error)) throw error;
    });
    if (file) await fetchFile(remote, file, pathOf(name));
    else await rm(pathOf(name), { force: true });
    return file !== undefined;
  };

  await fetchFile(remote, await describe("config.json"), pathOf("config.json"));
  parseConfig({ config: await read("config.json") });
  for (const name of OPTIONAL_FILES) await fetchOptional(name);
  const names = (await fetchOptional(INDEX)) ? shardNames(await read(INDEX)) : [SINGLE];

  const weights: { name: string; file: RemoteFile }[] = [];
  for (const name of names) {
    const file = await describe(name).catch((error) => {
      throw isMissing(error) && name === SINGLE ? noWeightsError(id, url, error) : error;
    });
    weights.push({ name, file });
  }
  const total = weights.reduce((sum, { file }) => sum + (file.bytes ?? Number.NaN), 0);
  let earlier = 0;
  for (const { name, file } of weights) {
    await fetchFile(remote, file, pathOf(name), (received) => {
      if (total > 0) onProgress?.({ done: earlier + received, total, name });
    });
    earlier += file.bytes ?? 0;
  }
  return { directory, revision };
}

const isMissing = (error: unknown): error is OchreError => error instanceof OchreError && error.details.status === 404;

const noModelError = (id: string, revision: string, url: string, cause: OchreError): OchreError => {
  const what =
    cause.details.reason === "EntryNotFound"
      ? `${id} has no config.json at ${revision}: is it a model in Hugging Face's layout?`
      : `${id} at ${revision} must be at ${url} but is not. Check the name and the revision.`;
  return new OchreError("DOWNLOAD_FAILED", `[hub] ${what}`, { details: cause.details, cause });
};

const noWeightsError = (id: string, url: string, cause: OchreError): OchreError =>
  new OchreError(
    "DOWNLOAD_FAILED",
    `[hub] ${id} must hold ${SINGLE}, or ${INDEX} and its shards, but has neither at ${url}. For a GGUF, fetch it and name the file.`,
    { details: cause.details, cause },
  );
