/**
 * The playground's file server: a built page at `/`, model directories under `/models/`, nothing else.
 * Every answer carries a length and an ETag, so a reload costs one round trip and no bytes.
 */
import fs from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import path from "node:path";

export interface StaticServerOptions {
  /** Folder of the built page, with an `index.html`. */
  pageRoot: string;
  /** Folder of model directories; it may be missing, which lists no models. */
  modelsRoot: string;
  /** A model that may come later, and does better than one that is there. */
  better?: BetterModel;
}

export interface BetterModel {
  name: string;
  /** The one that it does better than. */
  than: string;
  /** How much of it is made, 0 to 1, while it is being made. */
  making(): number | undefined;
}

/** One row of `/models/index.json`. */
export interface ListedModel {
  name: string;
  /** Path of the model directory on this server. */
  url: string;
  /** What a first visit downloads. */
  bytes: number;
  /** Average bits per weight of the linears; absent where the directory is not palettized. */
  bits?: number;
  /** Name of the row that this one does better than. */
  betterThan?: string;
  /** How much of it is made, 0 to 1: there is nothing to download yet. */
  making?: number;
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".jinja": "text/plain; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

const MODELS = "/models/";
/** Vite puts a content hash into the name of everything in this folder, so it can never go stale. */
const HASHED = "/assets/";

export function createStaticServer({ pageRoot, modelsRoot, better }: StaticServerOptions): Server {
  return createServer((request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    const pathname = readPath(request.url ?? "/");
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return refuse(response, 405, pathname);
    }
    if (pathname === `${MODELS}index.json`) return answerJson(response, 200, listModels(modelsRoot, better));
    const file = pathname?.startsWith(MODELS)
      ? inside(modelsRoot, pathname.slice(MODELS.length))
      : inside(pageRoot, pathname === "/" ? "index.html" : pathname?.slice(1));
    const stat = file ? fs.statSync(file, { throwIfNoEntry: false }) : undefined;
    if (!file || !stat?.isFile()) return refuse(response, 404, pathname);
    sendFile(request, response, file, stat, pathname?.startsWith(HASHED) ? "public, max-age=31536000, immutable" : "no-cache");
  });
}

/** The models under a folder, by name: whatever holds a readable `config.json`, and what is in the making. */
export function listModels(modelsRoot: string, better?: BetterModel): ListedModel[] {
  const models: ListedModel[] = [];
  for (const name of fs.existsSync(modelsRoot) ? fs.readdirSync(modelsRoot).sort() : []) {
    const folder = path.join(modelsRoot, name);
    try {
      const config = JSON.parse(fs.readFileSync(path.join(folder, "config.json"), "utf8"));
      // A hidden folder is one that a compiler has not moved into place yet.
      if (name.startsWith(".")) continue;
      const bytes = fs.readdirSync(folder).reduce((sum, file) => sum + fs.statSync(path.join(folder, file)).size, 0);
      models.push({ name, url: modelUrl(name), bytes, bits: config.quantization_config?.average_bits });
    } catch {
      // Not a model directory, or one that is still being written: it shows up once its config.json is whole.
    }
  }
  if (!better) return models;
  const { name, than } = better;
  const made = models.find((model) => model.name === name);
  const making = better.making();
  if (made) made.betterThan = than;
  else if (making !== undefined) models.push({ name, url: modelUrl(name), bytes: 0, betterThan: than, making });
  return models;
}

const modelUrl = (name: string): string => `${MODELS}${encodeURIComponent(name)}`;

/** The decoded path of a request, or undefined where it is not one: the raw target is used, for URL would hide its dots. */
function readPath(target: string): string | undefined {
  try {
    const decoded = decodeURIComponent(target.split(/[?#]/, 1)[0]);
    return decoded.startsWith("/") && !decoded.includes("\0") ? decoded : undefined;
  } catch {
    return undefined;
  }
}

/** The file that a relative path names below a root; undefined where it would leave it. */
function inside(root: string, relative: string | undefined): string | undefined {
  if (relative === undefined) return undefined;
  const absoluteRoot = path.resolve(root);
  const file = path.join(absoluteRoot, relative);
  return file.startsWith(absoluteRoot + path.sep) ? file : undefined;
}

function sendFile(request: IncomingMessage, response: ServerResponse, file: string, stat: fs.Stats, cacheControl: string): void {
  const etag = `"${stat.size.toString(36)}-${Math.floor(stat.mtimeMs).toString(36)}"`;
  response.setHeader("ETag", etag);
  response.setHeader("Cache-Control", cacheControl);
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304).end();
    return;
  }
  response.writeHead(200, {
    "Content-Type": TYPES[path.extname(file)] ?? "application/octet-stream",
    "Content-Length": stat.size,
  });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  // A file that vanishes or shrinks in mid-answer must break the connection: the length is already promised.
  fs.createReadStream(file)
    .on("error", () => response.destroy())
    .pipe(response);
}

/** JSON, so that a loader that asks for a missing file never takes a page for its answer. */
function refuse(response: ServerResponse, status: 404 | 405, pathname = "(malformed)"): void {
  answerJson(response, status, { error: status === 404 ? "not found" : "method not allowed", path: pathname });
}

function answerJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    "Content-Type": TYPES[".json"],
    "Content-Length": body.length,
    "Cache-Control": "no-cache",
  });
  response.end(body);
}
