/** Models from the visitor's own files: what names them in the store, and a fetch that answers from files. */
import { sha256 } from "./hash";

/** Any scheme would do that no server has. */
const SCHEME = "local:/";

/** The URL of a model that came from files rather than from a server. */
export const isLocalUrl = (url: string): boolean => url.startsWith(SCHEME);

/** @param key As `identifyFiles` gives it. @param name What people call the model. */
export const localUrl = (key: string, name: string): string => `${SCHEME}${key}/${encodeURIComponent(name)}`;

/** A file that the visitor chose. Its name travels beside it: not every structured clone of a file keeps it. */
export interface LocalFile {
  name: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  contents: Blob;
}

/** Read of each file: a GGUF's or safetensors' header is mostly in here. */
const HEAD_BYTES = 2 ** 16;
/** Read besides, evenly spread. */
const SAMPLES = 16;
const SAMPLE_BYTES = 2 ** 12;

/**
 * 32 hex digits that tell files from others without reading them whole: browsers hash only what is in memory, and gigabytes would
 * take longer to read than a small model to load. A hash of name, size, time of last change, the first 64 KiB and 16 samples of
 * 4 KiB of every file. A file that was merely touched counts as another; one that was changed behind all of these does not.
 * @param purpose What else tells one result from another, e.g. how the files are to be compiled.
 */
export async function identifyFiles(files: readonly LocalFile[], purpose: string): Promise<string> {
  const facts: (string | number)[] = [purpose];
  for (const { name, lastModified, contents } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const { size } = contents;
    // The last one ends where the file ends; in a small file they overlap and cover it.
    const span = Math.max(0, size - HEAD_BYTES - SAMPLE_BYTES);
    const starts = Array.from({ length: SAMPLES }, (_, i) => HEAD_BYTES + Math.floor((i * span) / (SAMPLES - 1)));
    const pieces = [contents.slice(0, HEAD_BYTES), ...starts.map((at) => contents.slice(at, at + SAMPLE_BYTES))];
    facts.push(name, size, lastModified, await sha256(await new Blob(pieces).arrayBuffer()));
  }
  return (await sha256(new TextEncoder().encode(JSON.stringify(facts)))).slice(0, 32);
}

/** Answers for the last segment of a URL from files of that name, ranges included; 404 for others. */
export function filesFetch(files: readonly LocalFile[]): typeof fetch {
  return async (input, init) => {
    init?.signal?.throwIfAborted();
    const wanted = String(input).split("/").pop();
    const file = files.find(({ name }) => name === wanted)?.contents;
    if (!file) return new Response(null, { status: 404 });
    const range = /^bytes=(\d+)-(\d*)$/.exec(new Headers(init?.headers).get("Range") ?? "");
    if (!range) return new Response(file);
    return new Response(file.slice(Number(range[1]), range[2] ? Number(range[2]) + 1 : undefined), { status: 206 });
  };
}

/** For a model that must come from the store: its files are not at hand. */
export const noFiles: typeof fetch = async () => {
  throw new TypeError("the files are not at hand");
};
