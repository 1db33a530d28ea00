import { OchreError } from "../errors";
import { isLocalUrl } from "./local";

/**
 * The key of a model: its directory's absolute URL without fragment or trailing slash. A page's relative path is
 * resolved against the page. Throws INVALID_ARGUMENT for what is no URL of a directory.
 */
export function directoryUrl(url: string): string {
  const base = globalThis.location?.href;
  const parsed = URL.canParse(url, base) ? new URL(url, base) : undefined;
  if (parsed?.search !== "")
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[model] the source must be the URL of a model directory, absolute and without a query, but is "${url}".`,
      { details: { url } },
    );
  parsed.hash = "";
  return parsed.href.replace(/\/+$/, "");
}

/** What people call the model: `org/name` on a hub, else the name of the directory or of the visitor's file. */
export function modelName(directory: string): string {
  const { pathname, host } = new URL(directory);
  if (isLocalUrl(directory)) return decodeURIComponent(pathname.split("/").pop()!);
  const hub = /([^/]+\/[^/]+)\/resolve\/[^/]+$/.exec(pathname);
  return hub?.[1] ?? (pathname.split("/").pop() || host);
}
