/** Any checkpoint that Ochre reads, from a path: a Hugging Face directory (plain or palettized), a .safetensors or a .gguf file. */
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { type ModelConfig, parseConfig } from "../engine/config";
import { checkPalettizedTensors, checkPlainTensors } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { type Folder, openCheckpointDirectory, readCheckpointFiles } from "../formats/checkpoint-directory";
import { openGguf } from "../formats/gguf";
import { formatError } from "../formats/json";
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
  const folderAt = (directory: string): Folder => ({
    location: directory,
    has: (name) => isFile(path.join(directory, name)),
    text: (name) => readFile(path.join(directory, name), "utf8"),
    open: (name) => openFile(path.join(directory, name)),
  });
  try {
    const name = path.basename(path.resolve(location));
    let checkpoint: Checkpoint;
    if (found.isDirectory()) checkpoint = await openCheckpointDirectory(name, folderAt(location));
    else if (location.endsWith(".gguf")) checkpoint = await openGguf(await openFile(location));
    else if (location.endsWith(".safetensors")) {
      const files = await readCheckpointFiles(folderAt(path.dirname(location)));
      checkpoint = await openSafetensors(name, [await openFile(location)], files);
    } else throw formatError(location, "must be a model directory, a .safetensors or a .gguf file.");

    const config = parseConfig(checkpoint.files);
    if (config.quantization) checkPalettizedTensors(config, checkpoint.tensors);
    else checkPlainTensors(config, checkpoint.tensors);
    return { checkpoint, config, shards: sources.map(({ name, size }) => ({ name, bytes: size })), close };
  } catch (error) {
    await close();
    throw error;
  }
}

const isFile = (file: string): Promise<boolean> =>
  stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
