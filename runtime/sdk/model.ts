import { proxy, transfer } from "comlink";
import { OchreError } from "../errors";
import type { EvaluationProgress } from "../worker/protocol";
import { callHandler } from "./callback";
import { compileFiles } from "./compile";
import { Connection, type WorkerLike } from "./connection";
import {
  checkAdapter,
  checkAdapterName,
  checkBits,
  checkKv,
  checkOptions,
  checkPalettize,
  sampling,
  toMessages,
} from "./options";
import { Session } from "./session";
import { resolveAdapter, resolveSource } from "./source";
import type {
  Adapter,
  BenchmarkOptions,
  BenchmarkResult,
  BitChange,
  BitChoice,
  EvaluateOptions,
  Evaluation,
  KernelTime,
  LoadAdapterOptions,
  LoadOptions,
  LoadProgress,
  ModelInfo,
  ModelSource,
  ProfileOptions,
  SelfTestOptions,
  SelfTestRow,
  SessionOptions,
} from "./types";

/** A worker that hangs in the driver must not keep dispose() waiting longer than this. */
const DISPOSE_MS = 1000;

/** A model on the GPU, in its own worker. Made by `Ochre.load()`. */
export class Model {
  readonly #connection: Connection;
  readonly #sessions = new Set<Session>();
  #info: ModelInfo;
  #disposed = false;

  /**
   * Resolves when the GPU device is lost or the worker dies; never after dispose(). Everything that runs rejects
   * with GPU_LOST or INTERNAL. Load the model again to go on: its files are still stored.
   */
  readonly lost: Promise<{ reason: string; message: string }>;

  /** @internal */
  constructor(connection: Connection, info: ModelInfo) {
    this.#connection = connection;
    this.#info = info;
    this.lost = new Promise((resolve) => {
      connection.call((worker) => worker.lost()).then(resolve, () => {});
      connection.crashed.then(({ message }) => resolve({ reason: "worker", message }));
    });
  }

  /** Sizes, bits and GPU; `gpuBytes` is as of the last session made or destroyed, or the last change of bits. */
  get info(): ModelInfo {
    return this.#info;
  }

  /**
   * A conversation with its own KV cache. `initialPrompts` are run at once, so that the first prompt finds them cached.
   * @throws INVALID_ARGUMENT, TypeError, CONTEXT_FULL, GPU_MEMORY, GPU_LOST, DISPOSED, the signal's own reason.
   */
  async createSession(options: SessionOptions = {}): Promise<Session> {
    this.#assertUsable("createSession");
    checkOptions("createSession", options);
    const { initialPrompts = [], adapter = null, signal } = options;
    checkAdapterName("createSession", adapter);
    const request = {
      ...sampling(options),
      adapter,
      initialPrompts: initialPrompts.length === 0 ? [] : toMessages("createSession", initialPrompts),
    };
    const handle = await this.#connection.callAbortable((worker) => worker.createSession(request, signal), signal);
    const session = new Session(this.#connection, { ...handle, adapter }, (destroyed) => {
      this.#sessions.delete(destroyed);
      void this.#refreshInfo();
    });
    this.#sessions.add(session);
    await this.#refreshInfo();
    if (signal?.aborted) {
      session.destroy();
      throw signal.reason;
    }
    return session;
  }

  /** Adapters that are loaded; the first is the model's own, where it has one. */
  get adapters(): readonly Adapter[] {
    return this.#info.adapters;
  }

  /**
   * A LoRA adapter as PEFT writes it, for sessions to answer with: `session.adapter = name`. The model itself stays as it is, and
   * several adapters lie side by side. It may be loaded while a reply is under way.
   * @param source URL or path of a folder with adapter_config.json and adapter_model.safetensors, a hub id, the visitor's own two
   *   files; or one plain name, which is a folder of the model's `adapters/`.
   * @throws ADAPTER_MISMATCH for one of another model; MODEL_UNSUPPORTED for what is not plain LoRA up to rank 64; INVALID_ARGUMENT
   *   for a name that is taken; MODEL_FORMAT, DOWNLOAD_FAILED, GPU_MEMORY, GPU_LOST, DISPOSED, TypeError, the signal's own reason.
   */
  async loadAdapter(source: ModelSource, options: LoadAdapterOptions = {}): Promise<Adapter> {
    this.#assertUsable("loadAdapter");
    const { weight = 1, signal } = options;
    checkAdapter("loadAdapter", options);
    const place = await resolveAdapter(source, options.name);
    const adapter = await this.#connection.callAbortable((worker) => worker.loadAdapter({ ...place, weight }, signal), signal);
    await this.#refreshInfo();
    return adapter;
  }

  /**
   * Takes an adapter off the GPU. Sessions that used it must name another, or null, before their next prompt.
   * @throws INVALID_ARGUMENT where it is not loaded; GPU_LOST, DISPOSED.
   */
  async unloadAdapter(name: string): Promise<void> {
    this.#assertUsable("unloadAdapter");
    await this.#connection.call((worker) => worker.unloadAdapter(name));
    await this.#refreshInfo();
  }

  /**
   * Gives codes fewer bits, or those back that are stored, up to so many. Effective from the next token on, also of a reply that
   * is under way: nothing is loaded again and sessions keep their caches. The GPU's memory falls and rises with it. Going
   * up reads the planes from the store (with `cache: false`, or where `averageBits` kept a file from being fetched, from the network).
   * Fewer bits than a block was compiled with are a fallback, since error feedback fits that width; elastic models are made for it.
   * @throws INVALID_ARGUMENT for a name that fits no linear, a width that is not 2, 3 or 4, or more than what is stored;
   *   TypeError, GPU_MEMORY, GPU_LOST, DISPOSED; what a download throws.
   */
  async setBits(bits: BitChoice): Promise<BitChange> {
    this.#assertUsable("setBits");
    checkBits("setBits", bits);
    const change = await this.#connection.call((worker) => worker.setBits({ ...bits }));
    await this.#refreshInfo();
    return change;
  }

  /**
   * Measures this model on this device: each run reads `promptTokens` fixed ids on top of `depth` and decodes `generateTokens`
   * greedily, with no stop ids. Sessions wait meanwhile.
   * @throws INVALID_ARGUMENT, TypeError; CONTEXT_FULL where the three exceed the window; GPU_MEMORY, GPU_LOST, DISPOSED, the
   *   signal's own reason.
   */
  async benchmark(options: BenchmarkOptions): Promise<BenchmarkResult> {
    this.#assertUsable("benchmark");
    checkOptions("benchmark", options);
    const { promptTokens, generateTokens, depth = 0, stepByStep = false } = options;
    const { repetitions = 3, warmup = 1, onProgress, signal } = options;
    const request = { promptTokens, generateTokens, depth, stepByStep, repetitions, warmup };
    const report = proxy((progress: { run: number; runs: number }) => callHandler(onProgress, progress));
    return this.#connection.callAbortable((worker) => worker.benchmark(request, report, signal), signal);
  }

  /**
   * How well this model predicts a text, and given a `source`, how far its predictions are from that model's. Sessions of both wait meanwhile.
   * @throws INVALID_ARGUMENT, TypeError; GPU_MEMORY, GPU_LOST, DISPOSED, the signal's own reason.
   */
  async evaluate(options: EvaluateOptions): Promise<Evaluation> {
    this.#assertUsable("evaluate");
    const { text, context, tokens, source, onProgress, signal } = options;
    checkOptions("evaluate", { context, tokens, signal });
    if (typeof text !== "string") throw new TypeError("[evaluate] text must be a string.");
    // Its worker would wait for itself.
    if (source === this)
      throw new OchreError("INVALID_ARGUMENT", "[evaluate] source must be another model, loaded beside this one.");
    if (source) source.#assertUsable("evaluate");
    const report = proxy((progress: EvaluationProgress) => callHandler(onProgress, progress));
    const predict = source && proxy((ids: number[], isNew: boolean) => source.#predict(ids, isNew));
    try {
      return await this.#connection.callAbortable(
        (worker) => worker.evaluate({ text, context, tokens }, report, predict, signal),
        signal,
      );
    } finally {
      if (source) await source.#connection.call((worker) => worker.endPredictions()).catch(() => {});
    }
  }

  async #predict(ids: number[], isNew: boolean): Promise<Float32Array> {
    const logits = await this.#connection.call((worker) => worker.predict(ids, isNew));
    return transfer(logits, [logits.buffer]);
  }

  /**
   * GB/s that this GPU copies, bytes read plus bytes written: the yardstick that decoding is held to. Measured at the first
   * call, in a second or less on a GPU; replies after it tell their `rooflineShare`. Undefined where the GPU has no room for it.
   * @throws TypeError, GPU_LOST, DISPOSED, the signal's own reason.
   */
  async copyBandwidth(options: { signal?: AbortSignal } = {}): Promise<number | undefined> {
    this.#assertUsable("copyBandwidth");
    checkOptions("copyBandwidth", options);
    const { signal } = options;
    return this.#connection.callAbortable((worker) => worker.copyBandwidth(signal), signal);
  }

  /**
   * Where the time of one decoded token goes: each kernel, timed by itself over the layers that have it, with this model's
   * weights and `depth` tokens in the cache.
   * @throws INVALID_ARGUMENT, TypeError, GPU_MEMORY, GPU_LOST, DISPOSED, the signal's own reason.
   */
  async profile(options: ProfileOptions = {}): Promise<KernelTime[]> {
    this.#assertUsable("profile");
    checkOptions("profile", { depth: options.depth, signal: options.signal });
    const { depth = 0, onRow, signal } = options;
    const report = proxy((row: KernelTime) => callHandler(onRow, row));
    return this.#connection.callAbortable((worker) => worker.profile(depth, report, signal), signal);
  }

  /**
   * Runs every kernel of the engine on this GPU and compares it with its twin on the CPU, in each variant that the device can run: seconds on
   * a GPU, a minute on a software adapter. A kernel that fails is a row, not an error.
   * @throws TypeError, GPU_LOST, DISPOSED, the signal's own reason.
   */
  async selfTest(options: SelfTestOptions = {}): Promise<SelfTestRow[]> {
    this.#assertUsable("selfTest");
    const { onRow, signal } = options;
    checkOptions("selfTest", { signal });
    const report = proxy((row: SelfTestRow) => callHandler(onRow, row));
    return this.#connection.callAbortable((worker) => worker.selfTest(report, signal), signal);
  }

  /** Destroys all sessions, frees the GPU and ends the worker. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const session of this.#sessions) session.destroy();
    const freed = this.#connection.call((worker) => worker.dispose()).catch(() => {});
    await Promise.race([freed, new Promise((resolve) => setTimeout(resolve, DISPOSE_MS))]);
    this.#connection.close(disposed("model"));
  }

  /** For `await using`. Browsers without the symbol never look for the name that this gets there. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #assertUsable(who: string): void {
    if (this.#disposed) throw disposed(who);
  }

  async #refreshInfo(): Promise<void> {
    await this.#connection
      .call((worker) => worker.info())
      .then(
        (info) => {
          this.#info = info;
        },
        // The device went away in between: the next call says so.
        () => {},
      );
  }
}

function disposed(who: string): OchreError {
  return new OchreError("DISPOSED", `[${who}] a model cannot be used after dispose().`);
}

/**
 * Brings a model to this device, verifies and stores it, and puts it on the GPU. The visitor's plain checkpoint is palettized first.
 * @param spawn makes the worker, only after the arguments were found good.
 * @param spawnCompiler makes the one that compiles, only for files.
 */
export async function loadModel(
  source: ModelSource,
  options: LoadOptions,
  spawn: () => WorkerLike,
  spawnCompiler: () => WorkerLike,
): Promise<Model> {
  checkOptions("load", options);
  const { onProgress, signal, contextTokens, kv, averageBits, cache, gpu, palettize } = options;
  checkKv("load", kv);
  checkPalettize("load", palettize);
  const found = await resolveSource(source);
  signal?.throwIfAborted();
  const place = typeof found === "string" ? { url: found } : await compileFiles(found, options, spawnCompiler);
  signal?.throwIfAborted();
  const connection = new Connection(spawn());
  const report = proxy((progress: LoadProgress) => callHandler(onProgress, progress));
  const request = { ...place, contextTokens, kv, averageBits, cache, gpu };
  try {
    const info = await connection.call((worker) => worker.load(request, report, signal), signal);
    return new Model(connection, info);
  } catch (error) {
    connection.close(disposed("model"));
    throw error;
  }
}
