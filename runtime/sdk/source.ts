/** Where a model is: turns what a page author writes into the URL of a model directory. */
import { OchreError } from "../errors";
import { directoryUrl } from "../store/model-url";

/** `org/name`: one slash, and nothing that marks a path. A path with one slash is written `./dir/model`. */
const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

const FILE_LIKE = ["File", "Blob", "FileList", "FileSystemDirectoryHandle", "FileSystemFileHandle"];

/**
 * Absolute URL of the directory, without a trailing slash. Paths are resolved against the document, as in `<a href>`.
 * @throws INVALID_ARGUMENT where it is no URL; MODEL_UNSUPPORTED for the user's own files; TypeError for anything else.
 */
export function resolveSource(source: string | URL): string {
  if (source instanceof URL) return directoryUrl(source.href);
  if (typeof source === "string") {
    if (HUB_ID.test(source)) return `https://huggingface.co/${source}/resolve/main`;
    const base = globalThis.document?.baseURI;
    return directoryUrl(base && URL.canParse(source, base) ? new URL(source, base).href : source);
  }
  if (FILE_LIKE.includes(Object.prototype.toString.call(source).slice(8, -1))) {
    throw new OchreError(
      "MODEL_UNSUPPORTED",
      "[load] source must be a URL: the user's own files cannot be loaded yet. Serve the model directory and pass its URL.",
    );
  }
  throw new TypeError("[load] source must be a string or a URL.");
}
