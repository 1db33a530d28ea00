/** Any checkpoint that Ochre reads, from a path: a Hugging Face directory (plain or palettized), a .safetensors or a .gguf file. */
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { type ModelConfig, parseConfig } from "../engine/config";
import { checkPalettizedTensors, checkPlainTensors } from "../formats/check-tensors";
import type { Checkpoint, CheckpointFiles } from "../formats/checkpoint";
import { openGguf } from "../formats/gguf";
import { formatError, isObject, type JsonObject, parseJsonObject } from "../formats/json";
import type { ShardIndex } from "../formats/palettized";
import { isShardName, parseShardIndex } from "../formats/palettized-index";
import { openSafetensors } from "../formats/safetensors";
import { type FileSource, openFileSource } from "./file-source";

export interface OpenCheckpoint {
  checkpoint: Checkpoint;
  config: ModelConfig;
  /** The weight files in load order, and their sizes. */
  shards: { name: string; bytes: number }[];
  /** Releases the files. */
  close(): Promise<void>;
}

export const INDEX = "model.safetensors.index.json";
export const SINGLE = "model.safetensors";

/**
 * Opens a checkpoint and checks configuration, headers and every tensor's shape; the weights are read later.
 * Throws MODEL_FORMAT where something is missing or damaged, naming it, and MODEL_UNSUPPORTED for models beyond this version.
 */
export async function openCheckpoint(location: string): Promise<OpenCheckpoint> {
  const found = await stat(location).catch((cause) => {
    throw formatError(
      location,
      "must be a model directory, a .safetensors or a .gguf file but there is nothing there.",
      {},
      cause,
    );
  });
  const sources: FileSource[] = [];
  const close = async () => {
    await Promise.all(sources.map((source) => source.close()));
  };
  const openFile = async (file: string): Promise<FileSource> => {
    const source = await openFileSource(file);
    sources.push(source);
    return source;
  };
  try {
    const name = path.basename(path.resolve(location));
    let checkpoint: Checkpoint;
    if (found.isDirectory()) checkpoint = await openDirectory(location, name, openFile);
    else if (location.endsWith(".gguf")) checkpoint = await openGguf(await openFile(location));
    else if (location.endsWith(".safetensors"))
      checkpoint = await openSafetensors(name, [await openFile(location)], await readFiles(path.dirname(location)));
    else throw formatError(location, "must be a model directory, a .safetensors or a .gguf file.");

    const config = parseConfig(checkpoint.files);
    if (config.quantization) checkPalettizedTensors(config, checkpoint.tensors);
    else checkPlainTensors(config, checkpoint.tensors);
    return { checkpoint, config, shards: sources.map(({ name, size }) => ({ name, bytes: size })), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openDirectory(
  directory: string,
  name: string,
  openFile: (file: string) => Promise<FileSource>,
): Promise<Checkpoint> {
  const files = await readFiles(directory);
  const indexJson = await readJson(path.join(directory, INDEX));
  const palettized = isObject(files.config.quantization_config) && files.config.quantization_config.quant_method === "palettized";
  if (palettized && !indexJson) throw formatError(directory, `a palettized model needs ${INDEX}.`);
  if (!indexJson && !(await exists(path.join(directory, SINGLE))))
    throw formatError(directory, `must hold ${SINGLE}, or ${INDEX} and its shards. For a GGUF name the file itself.`);

  const index = palettized ? parseShardIndex(indexJson) : undefined;
  const names = index ? index.shards.map((shard) => shard.name) : indexJson ? shardNames(indexJson) : [SINGLE];
  const sources: FileSource[] = [];
  for (const shard of names) sources.push(await openFile(path.join(directory, shard)));
  if (index) checkShardSizes(index, sources);
  const checkpoint = await openSafetensors(name, sources, files);
  for (const tensor of Object.keys(index?.weight_map ?? {}))
    if (!checkpoint.tensors.has(tensor))
      throw formatError(directory, `${INDEX} lists "${tensor}" but no shard holds it.`, { tensor });
  return checkpoint;
}

function checkShardSizes(index: ShardIndex, sources: readonly FileSource[]): void {
  index.shards.forEach(({ name, bytes }, i) => {
    if (sources[i].size !== bytes)
      throw formatError(
        name,
        `must have ${bytes} bytes, as ${INDEX} says, but has ${sources[i].size}. Fetch or compile it again.`,
      );
  });
}

/** The shards of a plain sharded checkpoint, each once, in the order in which weight_map first names them. Throws MODEL_FORMAT. */
export function shardNames(index: JsonObject): string[] {
  if (!isObject(index.weight_map)) throw formatError(INDEX, "must hold weight_map.");
  const names = new Set<string>();
  for (const name of Object.values(index.weight_map)) {
    if (!isShardName(name)) throw formatError(INDEX, "weight_map must name plain .safetensors files in the same directory.");
    names.add(name);
  }
  return [...names];
}

async function readFiles(directory: string): Promise<CheckpointFiles> {
  const config = await readJson(path.join(directory, "config.json"));
  if (!config) throw formatError(directory, "must hold config.json beside the weights.");
  const [tokenizer, tokenizerConfig, generationConfig] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "generation_config.json"].map((file) => readJson(path.join(directory, file))),
  );
  // Newer checkpoints keep the template in a file of its own, which counts before the one in tokenizer_config.json.
  const template = path.join(directory, "chat_template.jinja");
  if (!(await exists(template))) return { config, tokenizer, tokenizerConfig, generationConfig };
  const withTemplate = { ...tokenizerConfig, chat_template: await readFile(template, "utf8") };
  return { config, tokenizer, tokenizerConfig: withTemplate, generationConfig };
}

/** A JSON object; undefined where there is no such file. */
async function readJson(file: string): Promise<JsonObject | undefined> {
  if (!(await exists(file))) return undefined;
  return parseJsonObject(path.basename(file), await readFile(file, "utf8"));
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
