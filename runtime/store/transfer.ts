/** Bytes over HTTP, checked: retries, resumption in mid-file, sizes and hashes. Knows nothing of the store. */
import { OchreError } from "../errors";
import { parseJsonObject } from "../formats/json";
import { sha256 } from "./hash";

export interface Transfer {
  fetch: typeof globalThis.fetch;
  signal?: AbortSignal;
  /** Waits before each further try after a network error, ms. */
  retryDelaysMs: readonly number[];
}

export interface Shard {
  name: string;
  bytes: number;
  sha256: string;
}

/** Another try may mend it: no connection, a body cut off, a server that is overloaded or restarting. */
export const isTransient = (error: unknown): boolean => error instanceof OchreError && error.details.transient === true;

/** The parsed file. Throws DOWNLOAD_FAILED, or MODEL_FORMAT where what came is no JSON object. */
export function fetchJson(transfer: Transfer, url: string): Promise<Record<string, unknown>> {
  return withRetries(transfer, async () => {
    // "no-cache" revalidates: a new revision is seen at once, an unchanged file costs one 304.
    const response = await request(transfer, url, { cache: "no-cache" });
    const text = await response.text().catch((cause) => {
      throw networkError(transfer, url, cause);
    });
    if (text.trimStart().startsWith("<")) throw pageInstead(url);
    return parseJsonObject(url, text);
  });
}

/** A file that no index describes, unchecked but for its arrival. Throws DOWNLOAD_FAILED, or the signal's reason. */
export function fetchBytes(transfer: Transfer, url: string): Promise<Uint8Array> {
  return withRetries(transfer, async () => {
    const response = await request(transfer, url, { cache: "no-cache" });
    return new Uint8Array(
      await response.arrayBuffer().catch((cause) => {
        throw networkError(transfer, url, cause);
      }),
    );
  });
}

/**
 * One whole shard whose size and SHA-256 are as the index says.
 * A broken connection is resumed where it broke (where the server answers ranges); bytes that came whole but wrong are
 * fetched once more from the start.
 * @param onBytes bytes received; falls back to 0 when a try starts over.
 * @param onVerify milliseconds spent on hashing.
 * Throws DOWNLOAD_FAILED (network, status, size), CHECKSUM, MODEL_FORMAT (a page instead of bytes), or the signal's reason.
 */
export async function fetchShard(
  transfer: Transfer,
  url: string,
  shard: Shard,
  onBytes: (received: number) => void,
  onVerify: (ms: number) => void,
): Promise<ArrayBuffer> {
  for (let triesLeft = 2; ; triesLeft--) {
    const body = { bytes: new Uint8Array(shard.bytes), received: 0 };
    await withRetries(transfer, () => receive(transfer, url, body, onBytes));
    const startedAt = performance.now();
    const fault = await findFault(url, shard, body);
    onVerify(performance.now() - startedAt);
    if (!fault) return body.bytes.buffer;
    if (triesLeft === 1) throw fault;
  }
}

/** The first `length` bytes of a file, unchecked; the rest is not transferred. */
export function fetchHead(transfer: Transfer, url: string, length: number): Promise<Uint8Array> {
  return withRetries(transfer, async () => {
    const body = { bytes: new Uint8Array(length), received: 0 };
    await receive(transfer, url, body, () => {}, { Range: `bytes=0-${length - 1}` });
    if (body.received >= length) return body.bytes;
    throw sizeError(url, length, body.received);
  });
}

interface Body {
  bytes: Uint8Array<ArrayBuffer>;
  /** Bytes that came; more than `bytes` holds where the file is longer than it should be. */
  received: number;
}

/** Streams a file into `body`, from `body.received` on. Stops when the file ends or is longer than `body.bytes`. */
async function receive(
  transfer: Transfer,
  url: string,
  body: Body,
  onBytes: (received: number) => void,
  headers?: Record<string, string>,
): Promise<void> {
  if (body.received >= body.bytes.length) return;
  const resumed = body.received > 0 ? { Range: `bytes=${body.received}-` } : headers;
  // "no-store": the shard goes to IndexedDB, and the browser's HTTP cache need not keep a second copy.
  const response = await request(transfer, url, { cache: "no-store", headers: resumed });
  if (response.status !== 206) body.received = 0;
  const reader = response.body?.getReader();
  if (!reader) return;
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw networkError(transfer, url, cause);
    });
    if (done) return;
    const room = body.bytes.length - body.received;
    body.bytes.set(value.length > room ? value.subarray(0, room) : value, body.received);
    body.received += value.length;
    onBytes(Math.min(body.received, body.bytes.length));
    if (value.length > room) return reader.cancel().catch(() => {});
  }
}

async function findFault(url: string, shard: Shard, body: Body): Promise<OchreError | undefined> {
  if (body.received !== shard.bytes) return sizeError(url, shard.bytes, body.received);
  const actual = await sha256(body.bytes);
  if (actual === shard.sha256) return undefined;
  return new OchreError(
    "CHECKSUM",
    `[download] the SHA-256 of ${url} must be ${shard.sha256} but is ${actual}. The file on the server and its index belong to different revisions, or something on the way changes bytes.`,
    { details: { url, expected: shard.sha256, actual } },
  );
}

/** The response, if it is a success and no HTML page. Throws DOWNLOAD_FAILED, MODEL_FORMAT, or the signal's reason. */
async function request(transfer: Transfer, url: string, init: RequestInit): Promise<Response> {
  // Called as a plain function: browsers refuse a fetch whose `this` is another object.
  const { fetch, signal } = transfer;
  const response = await fetch(url, { ...init, signal }).catch((cause) => {
    throw networkError(transfer, url, cause);
  });
  const isPage = response.headers.get("content-type")?.includes("text/html");
  if (response.ok && !isPage) return response;
  // Nobody will read this body: let the connection go.
  await response.body?.cancel().catch(() => {});
  if (response.ok) throw pageInstead(url);
  const { status } = response;
  throw new OchreError("DOWNLOAD_FAILED", `[download] ${url} must be there but the server answered ${status}.`, {
    details: { url, status, transient: status >= 500 || status === 408 || status === 429 },
  });
}

async function withRetries<T>({ signal, retryDelaysMs }: Transfer, work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error) || attempt >= retryDelaysMs.length) throw error;
    }
    await sleep(retryDelaysMs[attempt], signal);
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** What a rejected fetch or a broken body means: the signal's reason where that was the cause. */
function networkError({ signal }: Transfer, url: string, cause: unknown): unknown {
  if (signal?.aborted) return signal.reason;
  const message = `[download] ${url} must be reachable but the network failed: ${(cause as Error).message}. Check the connection; a server on another origin must allow this page (CORS).`;
  return new OchreError("DOWNLOAD_FAILED", message, { details: { url, transient: true }, cause });
}

const sizeError = (url: string, expected: number, actual: number): OchreError =>
  new OchreError(
    "DOWNLOAD_FAILED",
    `[download] ${url} must have ${expected} bytes but ${actual > expected ? "has more" : `ended after ${actual}`}. The copy on the server is not the one that the index describes.`,
    { details: { url, expected, actual } },
  );

const pageInstead = (url: string): OchreError =>
  new OchreError(
    "MODEL_FORMAT",
    `[download] ${url} must be a model file but the server answered with an HTML page, as single-page apps do for a path that does not exist. Check the path, and that the server serves the model directory.`,
    { details: { url, page: true } },
  );
