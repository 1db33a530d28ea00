/** Where a model is: turns what a page author writes into the URL of a model directory. */
import { OchreError } from "../errors";

/** `org/name`: one slash, and nothing that marks a path. A path with one slash is written `./dir/model`. */
const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

const hubUrl = (id: string): string => `https://huggingface.co/${id}/resolve/main`;

/**
 * Absolute URL of the directory, without a trailing slash.
 * @throws INVALID_ARGUMENT where it is no http(s) URL; MODEL_UNSUPPORTED for the user's own files; TypeError for anything else.
 */
export function resolveSource(source: string | URL): string {
  if (typeof source === "string" && HUB_ID.test(source)) return hubUrl(source);
  if (typeof source !== "string" && !(source instanceof URL)) {
    if (isFileLike(source)) {
      throw new OchreError(
        "MODEL_UNSUPPORTED",
        "[load] models from the user's own files are not supported yet. Serve the model directory and pass its URL.",
      );
    }
    throw new TypeError("[load] source must be a string or a URL.");
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const url = URL.canParse(source, base) ? new URL(source, base) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.search !== "") {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[load] source must be the http(s) URL or path of a model directory, without a query, but is "${source}".`,
    );
  }
  url.hash = "";
  return url.href.replace(/\/+$/, "");
}

function isFileLike(source: unknown): boolean {
  const tag = Object.prototype.toString.call(source).slice(8, -1);
  return ["File", "Blob", "FileList", "FileSystemDirectoryHandle", "FileSystemFileHandle"].includes(tag);
}
