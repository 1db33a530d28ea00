/** `--adapter DIR`, and the recovery adapter that a model loads by itself. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { parseJsonObject } from "../formats/json";
import { type AdapterWeights, readPeft } from "../formats/peft";
import { openFileSource } from "./file-source";

export interface AdapterOptions {
  /** Directories, in the order in which they add up. */
  adapters: readonly string[];
  /** Whether to load the model's own recovery adapter under them. */
  recovery: boolean;
}

/** For parseArgs. */
export const ADAPTER_OPTIONS = {
  adapter: { type: "string", multiple: true },
  "no-recovery": { type: "boolean", default: false },
} as const;

export const readAdapterOptions = (values: { adapter?: string[]; "no-recovery": boolean }): AdapterOptions => ({
  adapters: values.adapter ?? [],
  recovery: !values["no-recovery"],
});

/**
 * The adapters to use, the model's own first.
 * @param model Its directory.
 * @throws OchreError what readPeft throws; INVALID_ARGUMENT where a directory holds no adapter.
 */
export async function openAdapters(
  model: string,
  config: ModelConfig,
  { adapters, recovery }: AdapterOptions,
): Promise<AdapterWeights[]> {
  const own = recovery ? config.quantization?.recovery : undefined;
  const directories = own === undefined ? adapters : [path.join(model, "adapters", own), ...adapters];
  return Promise.all(directories.map((directory) => openAdapter(directory, config)));
}

async function openAdapter(directory: string, config: ModelConfig): Promise<AdapterWeights> {
  const name = path.basename(path.resolve(directory));
  const text = await readFile(path.join(directory, "adapter_config.json"), "utf8").catch((cause) => {
    const message = `[adapter] ${directory} must hold adapter_config.json and adapter_model.safetensors, as PEFT writes them, but cannot be read (${cause.code}).`;
    throw new OchreError("INVALID_ARGUMENT", message, { cause });
  });
  const weights = await openFileSource(path.join(directory, "adapter_model.safetensors"));
  try {
    return await readPeft(name, { config: parseJsonObject(`${name}: adapter_config.json`, text), weights }, config);
  } finally {
    await weights.close();
  }
}
