/** A model directory on a real local server whose answers a test can bend, with a log of what was asked for. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { encodeSafetensors } from "../../runtime/formats/safetensors";

export const SHARD_COUNT = 5;
/** Bytes of each shard's one tensor: large enough to arrive in several chunks. */
const TENSOR_BYTES = 200_000;

export const shardName = (i: number): string => `model-0000${i + 1}-of-0000${SHARD_COUNT}.safetensors`;

/** Answers a request in place of the file; returns false to let the file be sent after all. */
export type Bend = (response: ServerResponse, file: Buffer | undefined, request: IncomingMessage) => boolean | undefined;

export class ModelServer {
  readonly files = new Map<string, Buffer>();
  /** File names in the order of the requests. */
  readonly requests: string[] = [];
  readonly ranges: string[] = [];
  readonly bends = new Map<string, Bend>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response));
  }

  static async start(): Promise<ModelServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const model = new ModelServer(server);
    model.publish([1, 2, 3, 4, 5]);
    return model;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/models/tiny`;
  }

  /** Writes a revision: shard i is filled from seed i, so equal seeds make equal shards. */
  publish(seeds: number[]): void {
    const shards = seeds.map((seed, i) => {
      const bytes = Buffer.alloc(TENSOR_BYTES, `seed ${seed}.`);
      return { name: shardName(i), file: Buffer.from(encodeSafetensors([tensor(`layer.${seed}`, bytes)])) };
    });
    const index = {
      metadata: { total_size: shards.length * TENSOR_BYTES },
      weight_map: Object.fromEntries(seeds.map((seed, i) => [`layer.${seed}`, shardName(i)])),
      shards: shards.map(({ name, file }) => ({
        name,
        bytes: file.length,
        sha256: createHash("sha256").update(file).digest("hex"),
      })),
    };
    for (const { name, file } of shards) this.files.set(name, file);
    this.setJson("model.safetensors.index.json", index);
    this.setJson("config.json", { model_type: "llama", seeds });
    this.setJson("tokenizer.json", { version: "1.0" });
    this.setJson("tokenizer_config.json", { chat_template: "{{ messages }}" });
    this.setJson("generation_config.json", { eos_token_id: 2 });
  }

  setJson(name: string, value: unknown): void {
    this.files.set(name, Buffer.from(JSON.stringify(value)));
  }

  get totalBytes(): number {
    return [...this.files].reduce((sum, [name, file]) => sum + (name.endsWith(".safetensors") ? file.length : 0), 0);
  }

  /** The shards asked for since the last call of `forget`, each as often as it was asked for. */
  get shardRequests(): string[] {
    return this.requests.filter((name) => name.endsWith(".safetensors"));
  }

  forget(): void {
    this.requests.length = 0;
    this.ranges.length = 0;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = request.url?.split("/").pop() ?? "";
    this.requests.push(name);
    if (request.headers.range) this.ranges.push(request.headers.range);
    const file = this.files.get(name);
    if (this.bends.get(name)?.(response, file, request)) return;
    if (!file) response.writeHead(404).end();
    else sendFile(response, file, request);
  }
}

const tensor = (name: string, bytes: Uint8Array) => ({ name, dtype: "U8" as const, shape: [bytes.length], bytes });

/** The file with its length, or the part that a Range header asks for. */
function sendFile(response: ServerResponse, file: Buffer, request: IncomingMessage): void {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (!range) {
    response.writeHead(200, { "Content-Length": file.length }).end(file);
    return;
  }
  const from = Number(range[1]);
  const part = file.subarray(from, range[2] ? Number(range[2]) + 1 : undefined);
  response
    .writeHead(206, { "Content-Length": part.length, "Content-Range": `bytes ${from}-${from + part.length - 1}/${file.length}` })
    .end(part);
}

/** Bends a file's first `times` answers, then lets it through. */
export function bendOnce(bend: Bend, times = 1): Bend {
  let left = times;
  return (...args) => left-- > 0 && bend(...args);
}

export const status =
  (code: number): Bend =>
  (response) => {
    response.writeHead(code).end("nothing here");
    return true;
  };

export const htmlPage: Bend = (response) => {
  response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>My app</title>");
  return true;
};

/** Promises the whole file, sends `bytes` of it and breaks the connection. */
export const breakAfter =
  (bytes: number): Bend =>
  (response, file) => {
    response.writeHead(200, { "Content-Length": file!.length });
    response.write(file!.subarray(0, bytes), () => setTimeout(() => response.destroy(), 5));
    return true;
  };

/** Sends another body than the file's, with a length that fits it. */
export const sendInstead =
  (change: (file: Buffer) => Buffer): Bend =>
  (response, file) => {
    response.end(change(file!));
    return true;
  };

export const flipBit = (file: Buffer): Buffer => {
  const flipped = Buffer.from(file);
  flipped[flipped.length >> 1] ^= 4;
  return flipped;
};
