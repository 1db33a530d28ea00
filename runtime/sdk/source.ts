/** Where a model is: turns what a page author gives into the URL of a model directory, or into files. */
import { OchreError } from "../errors";
import { directoryUrl, modelName } from "../store/model-url";
import type { AdapterPlace, LocalFiles } from "../worker/protocol";
import type { ModelSource } from "./types";

/** `org/name`: one slash, and nothing that marks a path. A path with one slash is written `./dir/model`. */
const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

/**
 * Absolute URL of the directory, without a trailing slash. Paths are resolved against the document, as in `<a href>`.
 * @throws INVALID_ARGUMENT where it is no URL; TypeError for anything that is neither URL nor string.
 */
export function resolveUrl(source: string | URL): string {
  if (source instanceof URL) return directoryUrl(source.href);
  if (typeof source !== "string") throw new TypeError("[load] source must be a string, a URL, or files of the user.");
  if (HUB_ID.test(source)) return `https://huggingface.co/${source}/resolve/main`;
  const base = globalThis.document?.baseURI;
  return directoryUrl(base && URL.canParse(source, base) ? new URL(source, base).href : source);
}

/**
 * The same, or the files that a handle, a list or an input's `files` stands for. Folders within folders are left out.
 * @throws INVALID_ARGUMENT where it is no URL, or two files have one name; NotAllowedError, NotFoundError of the handle; TypeError.
 */
export async function resolveSource(source: ModelSource): Promise<string | LocalFiles> {
  switch (tagOf(source)) {
    case "File":
      return localFiles([source as File]);
    case "FileSystemFileHandle":
      return localFiles([await (source as FileSystemFileHandle).getFile()]);
    case "FileSystemDirectoryHandle":
      return localFiles(await filesIn(source as FileSystemDirectoryHandle), (source as FileSystemDirectoryHandle).name);
    case "FileList":
    case "Array": {
      const files = [...(source as Iterable<unknown>)];
      if (!files.every((file): file is File => tagOf(file) === "File"))
        throw new TypeError("[load] a list must hold nothing but files.");
      return localFiles(files);
    }
    default:
      return resolveUrl(source as string | URL);
  }
}

/** A name that is neither a path nor a hub id. */
const PLAIN_NAME = /^\w[\w.-]*$/;

/** Where an adapter is, and what it is called. Throws as resolveSource does. */
export async function resolveAdapter(source: ModelSource, name?: string): Promise<AdapterPlace> {
  if (typeof source === "string" && PLAIN_NAME.test(source)) return { name: name ?? source, folder: source };
  const found = await resolveSource(source);
  if (typeof found === "string") return { name: name ?? modelName(found), url: found };
  return { name: name ?? found.name, url: "local:", files: found.files };
}

/** By its tag, so that a file of another frame is one too. */
const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

async function filesIn(directory: FileSystemDirectoryHandle): Promise<File[]> {
  const files: File[] = [];
  for await (const handle of directory.values()) {
    if (handle.kind === "file") files.push(await (handle as FileSystemFileHandle).getFile());
  }
  return files;
}

function localFiles(all: readonly File[], folder?: string): LocalFiles {
  // An input with `webkitdirectory` gives paths, and what lies deeper than its folder's own files.
  const files = all.filter(({ webkitRelativePath = "" }) => webkitRelativePath.split("/").length <= 2);
  const names = new Set<string>();
  for (const { name } of files) {
    if (names.has(name))
      throw new OchreError(
        "INVALID_ARGUMENT",
        `[load] files must be of one folder but two are called ${name}: choose one of them.`,
      );
    names.add(name);
  }
  const chosen = folder ?? files[0]?.webkitRelativePath?.split("/").shift();
  return {
    name: chosen || weightsName(files),
    files: files.map((file) => ({ name: file.name, lastModified: file.lastModified, contents: file })),
  };
}

/** After the weights: "SmolLM2" for SmolLM2.gguf, "model" for model-00001-of-00002.safetensors. */
function weightsName(files: readonly File[]): string {
  const weights = files.find(({ name }) => /\.(gguf|safetensors)$/.test(name)) ?? files[0];
  return weights?.name.replace(/\.\w+$/, "").replace(/-\d+-of-\d+$/, "") || "model";
}
