import { proxy } from "comlink";
import { OchreError } from "../errors";
import type { CompilerWorker, LocalFiles, ModelPlace } from "../worker/protocol";
import { callHandler } from "./callback";
import { Connection, type WorkerLike } from "./connection";
import type { LoadOptions, LoadProgress } from "./types";

/** An aborted compilation clears away what it has stored; a worker that does not get to it is ended after this long. */
const CLEAN_UP_MS = 10_000;

/** Makes a palettized model of the visitor's files, in a worker that ends with it. Rejects with what that throws, or the signal's reason. */
export async function compileFiles(
  { name, files }: LocalFiles,
  { palettize: choices = {}, cache = true, onProgress, signal }: LoadOptions,
  spawn: () => WorkerLike,
): Promise<ModelPlace> {
  const connection = new Connection<CompilerWorker>(spawn());
  const report = proxy((progress: LoadProgress) => callHandler(onProgress, progress));
  const request = { name, files, choices, cache };
  try {
    const life = signal && delayed(signal, CLEAN_UP_MS);
    return await connection.callAbortable((worker) => worker.compile(request, report, signal), signal, life);
  } finally {
    connection.close(new OchreError("DISPOSED", "[load] the compiler has ended."));
  }
}

/** Aborts so much later. */
function delayed(signal: AbortSignal, ms: number): AbortSignal {
  const controller = new AbortController();
  signal.addEventListener("abort", () => setTimeout(() => controller.abort(signal.reason), ms), { once: true });
  return controller.signal;
}
