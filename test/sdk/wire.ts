/** Both ends of the SDK in one thread, with a real MessageChannel and Comlink in between. */
import type { WorkerLike } from "../../runtime/sdk/connection";
import { loadModel, type Model } from "../../runtime/sdk/model";
import type { LoadOptions } from "../../runtime/sdk/types";
import { compileFiles } from "../../runtime/worker/compile-files";
import { type HostParts, WorkerHost } from "../../runtime/worker/host";
import { serve, serveCompiler } from "../../runtime/worker/serve";
import { characterText, config, emptyCheckpoint, FakeEngine } from "./fake-engine";

/** A port that passes for a Worker; `crash` does what an uncaught error in a worker does. */
export function spawnWorker(parts: HostParts): ReturnType<typeof asWorker> {
  return asWorker((port) => serve(new WorkerHost(parts), port));
}

/** The real compiler. */
export const spawnCompiler = (): WorkerLike => asWorker((port) => serveCompiler({ compile: compileFiles }, port));

function asWorker(start: (port: MessagePort) => void): WorkerLike & { terminated: boolean; crash(message: string): void } {
  const { port1, port2 } = new MessageChannel();
  start(port1);
  return Object.assign(port2, {
    terminated: false,
    terminate(this: { terminated: boolean }) {
      this.terminated = true;
      port1.close();
      port2.close();
    },
    crash: (message: string) => port2.dispatchEvent(Object.assign(new Event("error"), { message })),
  });
}

/** URLs of adapters so far. */
export const adaptersOpened: string[] = [];

export const fakeParts = (engine: FakeEngine): HostParts => ({
  async openModel(_request, onProgress) {
    onProgress({ loaded: 0, total: 10 });
    onProgress({ loaded: 10, total: 10, file: "model-00001-of-00001.safetensors" });
    return {
      name: "fake",
      config,
      checkpoint: emptyCheckpoint,
      text: characterText,
      fromCache: false,
      times: { download: 1, verify: 2 },
    };
  },
  async openAdapter({ name, url }, _config, signal) {
    signal?.throwIfAborted();
    adaptersOpened.push(url);
    return { name, rank: 4, scale: 1, linears: new Map() };
  },
  async createEngine(request) {
    engine.request = request;
    request.onProgress?.(500, 1000);
    request.onProgress?.(1000, 1000);
    return engine;
  },
});

export interface FakeModel {
  model: Model;
  engine: FakeEngine;
  worker: ReturnType<typeof spawnWorker>;
}

export async function loadFake(
  options: LoadOptions = {},
  engine = new FakeEngine(),
  parts: Partial<HostParts> = {},
): Promise<FakeModel> {
  const worker = spawnWorker({ ...fakeParts(engine), ...parts });
  const model = await loadModel("https://example.test/models/fake", options, () => worker, spawnCompiler);
  return { model, engine, worker };
}

/** Calls `open()` to let go whoever waits on `closed`. */
export function gate(): { closed: Promise<void>; open: () => void } {
  let open!: () => void;
  const closed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { closed, open };
}

export const ticks = (ms = 20): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a promise rejects with; fails when it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise was fulfilled");
}

export async function collect(stream: ReadableStream<string>): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}
