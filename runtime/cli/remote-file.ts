/**
 * One file of a Hugging Face-style hub to disk. A hub answers for a large file with a redirect to where its bytes are, and
 * that redirect names the file: `x-linked-etag` (SHA-256, in hex), `x-linked-size` and `x-repo-commit`. Bytes are written to
 * FILE.partial, with the ETag in FILE.etag, so that a broken transfer goes on where it broke, in this run or a later one.
 */
import { open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { OchreError } from "../errors";
import { isTransient } from "../store/transfer";
import { sha256File } from "./sha256-file";

const MAX_REDIRECTS = 10;

export interface Remote {
  fetch: typeof globalThis.fetch;
  /** Sent to the origin that was asked, never to where it redirects. */
  token?: string;
  signal?: AbortSignal;
  /** Waits before each further try after a network error, ms; bytes that arrive start them anew. */
  retryDelaysMs: readonly number[];
}

export interface RemoteFile {
  url: string;
  etag?: string;
  bytes?: number;
  /** The commit that the revision asked for stands for. */
  commit?: string;
}

/** What the server says of a file, without its bytes. Throws DOWNLOAD_FAILED, or the signal's reason. */
export function describeFile(remote: Remote, url: string): Promise<RemoteFile> {
  return withRetries(remote, async () => (await request(remote, "HEAD", url)).file);
}

/**
 * Brings the file to `target`; one that is there under the same ETag is kept.
 * @param onBytes bytes that are here, of this file; falls back to 0 where it must start over.
 * Throws DOWNLOAD_FAILED (network, status, size, a file that changed on the way, a server without ranges), CHECKSUM, or the
 * signal's reason.
 */
export async function fetchFile(
  remote: Remote,
  file: RemoteFile,
  target: string,
  onBytes: (received: number) => void = () => {},
): Promise<void> {
  const partial = `${target}.partial`;
  // Without an ETag and a size nothing says that the bytes on disk and those to come belong together.
  const isNamed = file.etag !== undefined && file.bytes !== undefined;
  if (!isNamed || (await readFile(`${target}.etag`, "utf8").catch(() => "")) !== file.etag) {
    await Promise.all([target, partial].map((stale) => rm(stale, { force: true })));
    await writeFile(`${target}.etag`, file.etag ?? "");
  } else if ((await sizeOf(target)) === file.bytes) return onBytes(file.bytes!);

  try {
    await receiveAll(remote, file, partial, isNamed, onBytes);
    await checkFile(file, partial, remote.signal);
  } catch (error) {
    // Bytes that are wrong must not be gone on with.
    if (error instanceof OchreError && error.details.discard) await rm(partial, { force: true });
    throw error;
  }
  await rename(partial, target);
}

async function receiveAll(
  remote: Remote,
  file: RemoteFile,
  partial: string,
  isNamed: boolean,
  onBytes: (received: number) => void,
): Promise<void> {
  const handle = await open(partial, "a");
  try {
    let received = (await handle.stat()).size;
    let resumable = isNamed;
    const startOver = async () => {
      await handle.truncate(0);
      received = 0;
    };
    const limit = file.bytes ?? Number.POSITIVE_INFINITY;
    if (received > limit) await startOver();
    onBytes(received);

    let before = received;
    const receive = async () => {
      if (!resumable && received > 0) await startOver();
      before = received;
      if (received === file.bytes) return;
      const headers = received > 0 ? { Range: `bytes=${received}-` } : undefined;
      const { response, file: now } = await request(remote, "GET", file.url, headers);
      if (now.etag !== file.etag) {
        await response.body?.cancel().catch(() => {});
        throw changedError(file.url);
      }
      if (received > 0 && !response.headers.get("content-range")?.startsWith(`bytes ${received}-`)) {
        resumable = false;
        await startOver();
      }
      const reader = response.body?.getReader();
      try {
        while (reader && received <= limit) {
          const { done, value } = await reader.read().catch((cause) => {
            throw resumable ? networkError(remote, file.url, cause) : rangesError(remote, file.url, received, cause);
          });
          if (done) return;
          await handle.appendFile(value);
          received += value.length;
          onBytes(Math.min(received, limit));
        }
      } finally {
        // After the last byte this does nothing; after a full disk, or more bytes than there should be, it hangs up.
        await reader?.cancel().catch(() => {});
      }
    };
    await withRetries(remote, receive, () => resumable && received > before);
  } finally {
    await handle.close();
  }
}

async function checkFile({ url, etag, bytes }: RemoteFile, partial: string, signal?: AbortSignal): Promise<void> {
  const size = await sizeOf(partial);
  if (bytes !== undefined && size !== bytes)
    throw new OchreError("DOWNLOAD_FAILED", `[hub] ${url} must have ${bytes} bytes but has ${size}. Run the command again.`, {
      details: { url, expected: bytes, actual: size, discard: true },
    });
  // Small files, which git holds itself, have git's hash of 40 digits for an ETag.
  if (!etag || !/^[0-9a-f]{64}$/.test(etag)) return;
  const actual = await sha256File(partial, signal);
  if (actual !== etag)
    throw new OchreError(
      "CHECKSUM",
      `[hub] the SHA-256 of ${url} must be ${etag} but is ${actual}: something on the way changes bytes. Run the command again.`,
      { details: { url, expected: etag, actual, discard: true } },
    );
}

/** The last answer of a chain of redirects, and what all of them said of the file. Throws DOWNLOAD_FAILED, or the signal's reason. */
async function request(
  remote: Remote,
  method: "HEAD" | "GET",
  url: string,
  // Compressed bytes would have another length. For ranges, fetch asks for them as they are by itself.
  headers: Record<string, string> = { "Accept-Encoding": "identity" },
): Promise<{ response: Response; file: RemoteFile }> {
  const { fetch, token, signal } = remote;
  const file: RemoteFile = { url };
  const { origin } = new URL(url);
  for (let at = url, redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const authorization: Record<string, string> =
      token && new URL(at).origin === origin ? { Authorization: `Bearer ${token}` } : {};
    const init = { method, signal, headers: { ...headers, ...authorization } };
    const response = await fetch(at, { ...init, redirect: "manual" }).catch((cause) => {
      throw networkError(remote, url, cause);
    });
    file.commit ??= response.headers.get("x-repo-commit") ?? undefined;
    file.etag ??= bareEtag(response.headers.get("x-linked-etag"));
    file.bytes ??= parseSize(response.headers.get("x-linked-size"));
    const location = response.headers.get("location");
    const isRedirect = response.status >= 300 && response.status < 400 && location !== null;
    // Links to bytes are signed for GET, often: a HEAD that knows enough stays away from them.
    if (isRedirect && method === "HEAD" && file.etag && file.bytes !== undefined) return { response, file };
    if (!isRedirect) {
      await checkAnswer(url, response);
      file.etag ??= bareEtag(response.headers.get("etag"));
      file.bytes ??= parseSize(response.headers.get("content-length"));
      return { response, file };
    }
    await response.body?.cancel().catch(() => {});
    at = new URL(location, at).href;
  }
  throw new OchreError("DOWNLOAD_FAILED", `[hub] ${url} must be a file but redirects more than ${MAX_REDIRECTS} times.`, {
    details: { url },
  });
}

const bareEtag = (etag: string | null): string | undefined => etag?.replace(/^W\//, "").replaceAll('"', "") || undefined;
const parseSize = (text: string | null): number | undefined => (text && /^\d{1,15}$/.test(text) ? Number(text) : undefined);
const sizeOf = (file: string): Promise<number | undefined> =>
  stat(file).then(
    ({ size }) => size,
    () => undefined,
  );

/** Throws DOWNLOAD_FAILED unless the answer is the file. */
async function checkAnswer(url: string, response: Response): Promise<void> {
  const isPage = response.headers.get("content-type")?.includes("text/html");
  if (response.ok && !isPage) return;
  await response.body?.cancel().catch(() => {});
  const { status } = response;
  const reason = response.headers.get("x-error-code") ?? undefined;
  const details = { url, status, reason, transient: status >= 500 || status === 408 || status === 429 };
  const fail = (message: string) => new OchreError("DOWNLOAD_FAILED", `[hub] ${url} ${message}`, { details });
  if (response.ok) throw fail("must be a file but the server answered with an HTML page. Is the hub's address right?");
  if (reason === "GatedRepo")
    throw fail(`is gated (${status}): accept its terms on the model's page, and set HF_TOKEN to a token that may read it.`);
  if (status === 401 || status === 403)
    throw fail(
      `must be readable but the server answered ${status}: there is no such model, or it is private. Check the name, and set HF_TOKEN to a token that may read it.`,
    );
  if (status === 404) throw fail(`must be there but the server answered 404${reason ? ` (${reason})` : ""}.`);
  throw fail(`must be there but the server answered ${status}.`);
}

/** @param hasProgressed Whether the last try brought anything: then it counts as the first. */
async function withRetries<T>(
  { retryDelaysMs, signal }: Remote,
  work: () => Promise<T>,
  hasProgressed = () => false,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error)) throw error;
      if (hasProgressed()) failures = 0;
      if (failures >= retryDelaysMs.length) throw error;
    }
    await wait(retryDelaysMs[failures], undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}

function networkError({ signal }: Remote, url: string, cause: unknown): unknown {
  if (signal?.aborted) return signal.reason;
  const message = `[hub] ${url} must be reachable but the network failed: ${(cause as Error).message}. What has arrived is kept: run the command again.`;
  return new OchreError("DOWNLOAD_FAILED", message, { details: { url, transient: true }, cause });
}

function rangesError({ signal }: Remote, url: string, received: number, cause: unknown): unknown {
  if (signal?.aborted) return signal.reason;
  const message = `[hub] ${url} broke off after ${received} bytes and cannot be resumed: the server answers no byte ranges, or names no ETag and size. Fetch the model by other means and name its directory.`;
  return new OchreError("DOWNLOAD_FAILED", message, { details: { url, received, transient: true, discard: true }, cause });
}

const changedError = (url: string): OchreError =>
  new OchreError("DOWNLOAD_FAILED", `[hub] ${url} changed on the server while it was fetched. Run the command again.`, {
    details: { url, discard: true },
  });
