/** Which checkpoint the visitor's files are. */
import { OchreError } from "../errors";
import { blobSource } from "../formats/blob-source";
import type { Checkpoint } from "../formats/checkpoint";
import { type Folder, INDEX, openCheckpointDirectory, readCheckpointFiles, SINGLE } from "../formats/checkpoint-directory";
import { openGguf } from "../formats/gguf";
import { formatError } from "../formats/json";
import { openSafetensors } from "../formats/safetensors";
import type { LocalFile } from "../store/local";
import type { LocalFiles } from "./protocol";

/** What a checkpoint may consist of; a folder's README and pictures are left alone. */
const PARTS = /\.(gguf|safetensors|json|jinja)$/;

/**
 * One GGUF file, or safetensors with the JSON files beside them. The weights are read later.
 * Throws INVALID_ARGUMENT where nothing or too much was chosen, MODEL_FORMAT where a file is missing or damaged, MODEL_UNSUPPORTED
 * for other files and models.
 */
export async function openVisitorFiles({ name, files }: LocalFiles): Promise<Checkpoint> {
  const weights = weightFiles(files);
  const [first] = weights;
  if (first.name.endsWith(".gguf")) return openGguf(blobSource(first.name, first.contents));
  const folder = folderOf(files);
  if (!(await folder.has("config.json"))) {
    throw formatError(
      first.name,
      "a safetensors checkpoint needs its config.json and tokenizer.json: choose them together with it, or the whole folder.",
    );
  }
  if (weights.length > 1 || first.name === SINGLE || (await folder.has(INDEX))) return openCheckpointDirectory(name, folder);
  return openSafetensors(name, [blobSource(first.name, first.contents)], await readCheckpointFiles(folder));
}

/** The files that the model is made of, whatever else was chosen with them. */
export function relevantFiles({ files }: LocalFiles): LocalFile[] {
  const [first] = weightFiles(files);
  return first.name.endsWith(".gguf") ? [first] : files.filter(({ name }) => PARTS.test(name));
}

/** At least one: a GGUF alone, or safetensors. */
function weightFiles(files: readonly LocalFile[]): LocalFile[] {
  const ggufs = files.filter(({ name }) => name.endsWith(".gguf"));
  const safetensors = files.filter(({ name }) => name.endsWith(".safetensors"));
  const names = files.map(({ name }) => name).join(", ");
  if (ggufs.length + Math.sign(safetensors.length) > 1) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[load] one model must be chosen but there are several: ${names.slice(0, 200)}. A GGUF in parts is joined with llama-gguf-split --merge.`,
    );
  }
  const weights = [...ggufs, ...safetensors];
  if (weights.length > 0) return weights;
  throw new OchreError(
    "MODEL_UNSUPPORTED",
    `[load] a model must be a .gguf file, or .safetensors files with config.json and tokenizer.json, but ${names ? `this is ${names.slice(0, 200)}` : "nothing was chosen"}.`,
  );
}

function folderOf(files: readonly LocalFile[]): Folder {
  const byName = new Map(files.map((file) => [file.name, file]));
  const find = (fileName: string): LocalFile => {
    const file = byName.get(fileName);
    if (file) return file;
    throw formatError(fileName, "belongs to the model but is not among the chosen files: choose all of its folder.");
  };
  return {
    location: "the chosen files",
    has: async (fileName) => byName.has(fileName),
    text: (fileName) => find(fileName).contents.text(),
    open: async (fileName) => blobSource(fileName, find(fileName).contents),
  };
}
