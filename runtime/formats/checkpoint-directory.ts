/** A checkpoint in Hugging Face's layout, wherever its files are: on a disk, or among those that a visitor chose. */
import type { ByteSource, Checkpoint, CheckpointFiles } from "./checkpoint";
import { formatError, isObject, type JsonObject, parseJsonObject } from "./json";
import type { ShardIndex } from "./palettized";
import { isShardName, parseShardIndex } from "./palettized-index";
import { openSafetensors } from "./safetensors";

export const INDEX = "model.safetensors.index.json";
export const SINGLE = "model.safetensors";

/** Files side by side. */
export interface Folder {
  /** For messages. */
  readonly location: string;
  has(fileName: string): Promise<boolean>;
  /** A file that is there, as text. */
  text(fileName: string): Promise<string>;
  /** Rejects with MODEL_FORMAT where it is not there. */
  open(fileName: string): Promise<ByteSource>;
}

/**
 * A whole directory, plain or palettized, one file or shards.
 * @param name The checkpoint's.
 * Throws MODEL_FORMAT where something is missing or damaged, naming it, and MODEL_UNSUPPORTED for an element type that we do not read.
 */
export async function openCheckpointDirectory(name: string, folder: Folder): Promise<Checkpoint> {
  const files = await readCheckpointFiles(folder);
  const indexJson = await readJson(folder, INDEX);
  const palettized = isPalettized(files);
  if (palettized && !indexJson) throw formatError(folder.location, `a palettized model needs ${INDEX}.`);
  if (!indexJson && !(await folder.has(SINGLE)))
    throw formatError(folder.location, `must hold ${SINGLE}, or ${INDEX} and its shards. For a GGUF name the file itself.`);

  const index = palettized ? parseShardIndex(indexJson) : undefined;
  const names = index ? index.shards.map((shard) => shard.name) : indexJson ? shardNames(indexJson) : [SINGLE];
  const sources: ByteSource[] = [];
  for (const shard of names) sources.push(await folder.open(shard));
  if (index) checkShardSizes(index, sources);
  const checkpoint = await openSafetensors(name, sources, files);
  for (const tensor of Object.keys(index?.weight_map ?? {}))
    if (!checkpoint.tensors.has(tensor))
      throw formatError(folder.location, `${INDEX} lists "${tensor}" but no shard holds it.`, { tensor });
  return checkpoint;
}

export const isPalettized = ({ config }: CheckpointFiles): boolean =>
  isObject(config.quantization_config) && config.quantization_config.quant_method === "palettized";

function checkShardSizes(index: ShardIndex, sources: readonly ByteSource[]): void {
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

/** The JSON files beside the weights. Throws MODEL_FORMAT where config.json is missing or one is no JSON object. */
export async function readCheckpointFiles(folder: Folder): Promise<CheckpointFiles> {
  const config = await readJson(folder, "config.json");
  if (!config) throw formatError(folder.location, "must hold config.json beside the weights.");
  const [tokenizer, tokenizerConfig, generationConfig] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "generation_config.json"].map((file) => readJson(folder, file)),
  );
  // Newer checkpoints keep the template in a file of its own, which counts before the one in tokenizer_config.json.
  const template = "chat_template.jinja";
  if (!(await folder.has(template))) return { config, tokenizer, tokenizerConfig, generationConfig };
  const withTemplate = { ...tokenizerConfig, chat_template: await folder.text(template) };
  return { config, tokenizer, tokenizerConfig: withTemplate, generationConfig };
}

/** A JSON object; undefined where there is no such file. */
async function readJson(folder: Folder, fileName: string): Promise<JsonObject | undefined> {
  return (await folder.has(fileName)) ? parseJsonObject(fileName, await folder.text(fileName)) : undefined;
}
