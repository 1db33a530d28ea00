/**
 * A hub as Hugging Face's answers: small files itself, weights by a redirect to another origin, which holds the bytes and
 * knows ranges. Tests bend it: connections that break, ranges that are ignored, files that change.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export class HubServer {
  /** Of the one model, owner/name, on branch main. */
  readonly files = new Map<string, Buffer>();
  /** What was asked of the hub, "METHOD path". */
  readonly requests: string[] = [];
  /** What was asked of the other origin, "name range", and the Authorization that came with it. */
  readonly transfers: string[] = [];
  readonly authorizations: (string | undefined)[] = [];
  /** Bytes after which the next transfers of a file break; the later ones are whole. */
  readonly breaks = new Map<string, number[]>();
  ranges = true;
  /** Bytes sent behind the end of a file. */
  excess = 0;
  commit: string | undefined = COMMIT;
  /** Required where set. */
  token: string | undefined;
  /** Answers in place of the hub; returns false to let it answer. */
  bend: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  /** Called with each file's name when its bytes are asked for. */
  onTransfer: (name: string) => void = () => {};

  private constructor(
    private readonly hub: Server,
    private readonly store: Server,
  ) {
    hub.on("request", (request, response) => this.answer(request, response));
    store.on("request", (request, response) => this.send(request, response));
  }

  static async start(): Promise<HubServer> {
    const servers = [createServer(), createServer()];
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))));
    return new HubServer(servers[0], servers[1]);
  }

  get url(): string {
    return addressOf(this.hub);
  }

  async stop(): Promise<void> {
    for (const server of [this.hub, this.store]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`);
    if (this.bend(request, response)) return;
    const [, id, revision, name] = /^\/(\w+\/\w+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url ?? "") ?? [];
    const file = this.files.get(name);
    if (this.commit) response.setHeader("X-Repo-Commit", this.commit);
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) fail(response, 401, "GatedRepo");
    else if (request.headers["accept-encoding"] !== "identity") fail(response, 406, "Compressed");
    else if (id !== "owner/name") fail(response, 404, "RepoNotFound");
    else if (revision !== "main" && revision !== COMMIT) fail(response, 404, "RevisionNotFound");
    else if (!file) fail(response, 404, "EntryNotFound");
    else if (!name.endsWith(".safetensors")) {
      response.writeHead(200, { ETag: `W/"${hashOf("sha1", file)}"`, "Content-Length": file.length }).end(file);
    } else {
      response
        .writeHead(302, {
          Location: `${addressOf(this.store)}/bytes/${name}`,
          "X-Linked-Etag": `"${hashOf("sha256", file)}"`,
          "X-Linked-Size": file.length,
        })
        .end("Found.");
    }
  }

  private send(request: IncomingMessage, response: ServerResponse): void {
    const name = request.url?.split("/").pop() ?? "";
    this.transfers.push(`${name} ${request.headers.range ?? "whole"}`);
    this.authorizations.push(request.headers.authorization);
    this.onTransfer(name);
    const file = this.files.get(name)!;
    const from = this.ranges ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
    const part = Buffer.concat([file.subarray(from), Buffer.alloc(this.excess)]);
    const range = from > 0 ? { "Content-Range": `bytes ${from}-${file.length - 1}/${file.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { "Content-Length": part.length, ...range });
    const end = this.breaks.get(name)?.shift();
    if (end === undefined) response.end(part);
    else response.write(part.subarray(0, end), () => setTimeout(() => response.destroy(), 50));
  }
}

const addressOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const hashOf = (algorithm: string, file: Buffer): string => createHash(algorithm).update(file).digest("hex");
const fail = (response: ServerResponse, status: number, reason: string): void => {
  response.writeHead(status, { "X-Error-Code": reason }).end();
};
