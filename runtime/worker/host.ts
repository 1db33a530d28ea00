/** The worker's side of protocol.ts: owns one engine, its sessions and the queue in front of the device. */
import { transfer } from "comlink";
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import type { AdapterWeights } from "../formats/peft";
import type { LoadTimes } from "../metrics";
import type {
  Adapter,
  BenchmarkResult,
  BitChange,
  BitChoice,
  Evaluation,
  KernelTime,
  LoadProgress,
  Message,
  ModelInfo,
  SelfTestRow,
  SessionOptions,
} from "../sdk/types";
import type { LocalFile } from "../store/local";
import { runBenchmark } from "./benchmark";
import { type ChatModel, ChatSession, type ChatText } from "./chat";
import { DeviceQueue } from "./device-queue";
import { evaluateText } from "./evaluate";
import { LoadedAdapters } from "./loaded-adapters";
import type {
  AdapterRequest,
  BenchmarkRequest,
  EvaluationProgress,
  EvaluationRequest,
  GenerateRequest,
  GenerateResult,
  LoadRequest,
  OchreWorker,
  Predict,
} from "./protocol";
import type { EngineRequest, EngineSurface, SequenceSurface } from "./surface";

/** A model directory, fetched and understood, but not yet on the GPU. */
export interface OpenedModel {
  name: string;
  config: ModelConfig;
  checkpoint: Checkpoint;
  text: ChatText;
  fromCache: boolean;
  /** Read when the model is on the GPU: without a store, shards are fetched and verified until then. */
  times: Pick<LoadTimes, "download" | "verify">;
}

export interface HostParts {
  openModel(
    request: LoadRequest,
    onProgress: (progress: { loaded: number; total: number; file?: string }) => void,
    signal?: AbortSignal,
  ): Promise<OpenedModel>;
  createEngine(request: EngineRequest): Promise<EngineSurface>;
  openAdapter(
    place: { name: string; url: string; files?: readonly LocalFile[]; cache: boolean },
    config: ModelConfig,
    signal?: AbortSignal,
  ): Promise<AdapterWeights>;
}

const DEFAULT_CONTEXT_TOKENS = 4096;

interface Loaded extends Pick<LoadRequest, "palettized" | "url"> {
  cache: boolean;
  opened: OpenedModel;
  chatModel: ChatModel;
  /** Tokens of each session's window. */
  contextTokens: number;
  adapters: LoadedAdapters;
}

interface HostedSession {
  chat: ChatSession;
  /** Aborted by destroySession. */
  life: AbortController;
}

export class WorkerHost implements OchreWorker {
  readonly #parts: HostParts;
  readonly #queue = new DeviceQueue();
  readonly #sessions = new Map<number, HostedSession>();
  /** Aborted, with the error that every call gets from then on, when the device is lost or the model disposed. */
  readonly #halt = new AbortController();
  readonly #lost: Promise<{ reason: string; message: string }>;
  #resolveLost!: (info: { reason: string; message: string }) => void;
  #loaded?: Loaded;
  #nextSession = 1;
  /** Reads along in another model's evaluation. */
  #predictor?: SequenceSurface;

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.#lost = new Promise((resolve) => {
      this.#resolveLost = resolve;
    });
  }

  load(request: LoadRequest, onProgress: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<ModelInfo> {
    return this.#run(async (signal) => {
      if (this.#loaded) throw new OchreError("INTERNAL", "[worker] a worker holds one model, but load was called again.");
      // Every byte counts twice, once fetched (or found in the store) and once uploaded, so that a bar never runs back.
      // Without a store the two go side by side.
      const done = { fetched: 0, uploaded: 0, total: 0 };
      const report = (phase: LoadProgress["phase"], file?: string) =>
        onProgress({ phase, loaded: done.fetched + done.uploaded, total: 2 * done.total, file });
      let phase: LoadProgress["phase"] = "download";
      const opened = await this.#parts.openModel(
        request,
        ({ loaded, total, file }) => {
          done.fetched = loaded;
          done.total = total;
          report(phase, file);
        },
        signal,
      );
      const contextTokens = windowOf(opened.config, request.contextTokens);
      phase = "upload";
      const engine = await this.#parts.createEngine({
        config: opened.config,
        checkpoint: opened.checkpoint,
        powerPreference: request.gpu?.powerPreference,
        disabledFeatures: request.gpu?.disable ?? [],
        contextTokens,
        kv: request.kv ?? "int8",
        averageBits: request.averageBits,
        tune: request.gpu?.tune ?? true,
        remember: request.cache ?? true,
        onProgress: (uploaded, total) => {
          done.uploaded = Math.round(done.total * (uploaded / total));
          if (uploaded >= total) phase = "compile";
          report(phase);
        },
        signal,
      });
      if (signal.aborted) {
        engine.dispose();
        throw signal.reason;
      }
      engine.lost.then((info) => this.#onLost(info));
      const adapters = new LoadedAdapters();
      const { cache = true } = request;
      const own = opened.config.quantization?.recovery;
      if (own !== undefined) {
        const place = { name: own, url: `${request.url}/adapters/${own}`, files: request.files, cache };
        try {
          const weights = await this.#parts.openAdapter(place, opened.config, signal);
          adapters.add({ ...(await engine.loadAdapter(weights)), weight: 1 }, true);
        } catch (error) {
          engine.dispose();
          throw error;
        }
      }
      this.#loaded = {
        opened,
        url: request.url,
        cache,
        palettized: request.palettized,
        chatModel: {
          engine,
          text: opened.text,
          loadMs: { ...opened.times, ...engine.loadMs },
          adapterUses: (adapter) => adapters.uses(adapter),
        },
        contextTokens,
        adapters,
      };
      done.fetched = done.uploaded = done.total;
      report("ready");
      return this.#info();
    }, signal);
  }

  async info(): Promise<ModelInfo> {
    this.#halt.signal.throwIfAborted();
    return this.#info();
  }

  /** Not queued: what is submitted to the device keeps its order, and a reply under way goes on in the new widths. */
  async setBits(bits: BitChoice): Promise<BitChange> {
    this.#halt.signal.throwIfAborted();
    try {
      return await this.#model().chatModel.engine.setBits(bits);
    } catch (error) {
      this.#halt.signal.throwIfAborted();
      throw error;
    }
  }

  /** Fetched beside whatever runs; put on the GPU between two prompts. */
  async loadAdapter({ weight, folder, name, url = "", files }: AdapterRequest, signal?: AbortSignal): Promise<Adapter> {
    this.#halt.signal.throwIfAborted();
    const { opened, adapters, chatModel, ...model } = this.#model();
    const place = { name, url: folder === undefined ? url : `${model.url}/adapters/${folder}`, files, cache: model.cache };
    const weights = await this.#parts.openAdapter(place, opened.config, signal);
    return this.#run(async () => adapters.add({ ...(await chatModel.engine.loadAdapter(weights)), weight }), signal);
  }

  unloadAdapter(name: string): Promise<void> {
    return this.#run(async () => {
      const { adapters, chatModel } = this.#model();
      adapters.remove(name);
      for (const { chat } of this.#sessions.values()) await chat.letAdaptersGo();
      await chatModel.engine.unloadAdapter(name);
    });
  }

  createSession(options: Omit<SessionOptions, "signal">, signal?: AbortSignal) {
    return this.#run(async (signal) => {
      const { chatModel, contextTokens } = this.#model();
      const { initialPrompts = [], adapter = null, ...sampling } = options;
      const chat = new ChatSession(chatModel, await chatModel.engine.createSequence({ contextTokens }), sampling);
      try {
        if (initialPrompts.length > 0) await chat.append(initialPrompts, adapter, signal);
        signal.throwIfAborted();
      } catch (error) {
        chat.dispose();
        throw error;
      }
      const session = this.#nextSession++;
      this.#sessions.set(session, { chat, life: new AbortController() });
      return { session, contextUsage: chat.contextUsage, contextWindow: contextTokens };
    }, signal);
  }

  async generate(
    session: number,
    request: GenerateRequest,
    onPiece?: (piece: string) => void,
    signal?: AbortSignal,
  ): Promise<GenerateResult> {
    const { chat, life } = this.#session(session);
    return this.#run((signal) => chat.generate(request, onPiece, signal), signal, life.signal);
  }

  async append(
    session: number,
    messages: Message[],
    adapter: string | null,
    signal?: AbortSignal,
  ): Promise<{ contextUsage: number }> {
    const { chat, life } = this.#session(session);
    await this.#run((signal) => chat.append(messages, adapter, signal), signal, life.signal);
    return { contextUsage: chat.contextUsage };
  }

  async measure(session: number, messages: Message[]): Promise<number> {
    return this.#session(session).chat.measure(messages);
  }

  async destroySession(session: number): Promise<void> {
    const hosted = this.#sessions.get(session);
    if (!hosted) return;
    this.#sessions.delete(session);
    hosted.life.abort(new DOMException("The session was destroyed.", "AbortError"));
    // In the queue, so that the cache is not freed under a step that is still running.
    await this.#queue.run(async () => hosted.chat.dispose());
  }

  benchmark(
    request: BenchmarkRequest,
    onProgress: (progress: { run: number; runs: number }) => void,
    signal?: AbortSignal,
  ): Promise<BenchmarkResult> {
    return this.#run(async (signal) => {
      const { chatModel, contextTokens } = this.#model();
      return runBenchmark(chatModel.engine, contextTokens, request, onProgress, signal);
    }, signal);
  }

  evaluate(
    request: EvaluationRequest,
    onProgress: (progress: EvaluationProgress) => void,
    predict?: Predict,
    signal?: AbortSignal,
  ): Promise<Evaluation> {
    return this.#run(async (signal) => {
      const { chatModel, contextTokens } = this.#model();
      return evaluateText(chatModel, contextTokens, request, onProgress, predict, signal);
    }, signal);
  }

  predict(ids: number[], isNew: boolean): Promise<Float32Array> {
    return this.#run(async () => {
      const { chatModel, contextTokens } = this.#model();
      this.#predictor ??= await chatModel.engine.createSequence({ contextTokens });
      await this.#predictor.setAdapters(chatModel.adapterUses(null));
      if (isNew) this.#predictor.truncate(0);
      const { V } = chatModel.engine.config;
      const rows = new Float32Array(ids.length * V);
      let at = 0;
      await this.#predictor.prefillLogits(ids, (_, logits) => rows.set(logits, V * at++));
      return transfer(rows, [rows.buffer]);
    });
  }

  endPredictions(): Promise<void> {
    return this.#run(async () => {
      this.#predictor?.dispose();
      this.#predictor = undefined;
    });
  }

  copyBandwidth(signal?: AbortSignal): Promise<number | undefined> {
    return this.#run((signal) => this.#model().chatModel.engine.copyBandwidth(signal), signal);
  }

  profile(depth: number, onRow: (row: KernelTime) => void, signal?: AbortSignal): Promise<KernelTime[]> {
    return this.#run((signal) => this.#model().chatModel.engine.profile({ depth, onRow, signal }), signal);
  }

  selfTest(onRow: (row: SelfTestRow) => void, signal?: AbortSignal): Promise<SelfTestRow[]> {
    return this.#run((signal) => this.#model().chatModel.engine.selfTest({ onRow, signal }), signal);
  }

  lost(): Promise<{ reason: string; message: string }> {
    return this.#lost;
  }

  async dispose(): Promise<void> {
    this.#halt.abort(new OchreError("DISPOSED", "[model] a model cannot be used after dispose()."));
    this.#sessions.clear();
    this.#loaded?.chatModel.engine.dispose();
    this.#loaded = undefined;
  }

  #onLost(info: { reason: string; message: string }): void {
    if (this.#halt.signal.aborted) return;
    const message = `[model] the GPU device was lost (${info.reason}): ${info.message} Load the model again; its files are still stored.`;
    this.#halt.abort(new OchreError("GPU_LOST", message, { details: info }));
    this.#resolveLost(info);
  }

  /** Queues a task under the union of the caller's signals and the host's own; an abort wins over the error it provokes. */
  #run<T>(task: (signal: AbortSignal) => Promise<T>, ...signals: (AbortSignal | undefined)[]): Promise<T> {
    const signal = AbortSignal.any([this.#halt.signal, ...signals.filter((s) => s !== undefined)]);
    return this.#queue.run(async () => {
      try {
        return await task(signal);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
    }, signal);
  }

  #model(): Loaded {
    if (!this.#loaded) throw new OchreError("INTERNAL", "[worker] load must come before everything else.");
    return this.#loaded;
  }

  #session(session: number): HostedSession {
    this.#halt.signal.throwIfAborted();
    const hosted = this.#sessions.get(session);
    if (!hosted) throw new OchreError("DISPOSED", "[session] a session cannot be used after destroy().");
    return hosted;
  }

  #info(): ModelInfo {
    const { opened, palettized, chatModel, contextTokens, adapters } = this.#model();
    const { engine } = chatModel;
    const { config } = opened;
    const parameters = countParameters(config);
    return {
      name: opened.name,
      family: config.family,
      layers: config.L,
      parameters,
      vocabulary: config.V,
      contextTokens,
      averageBits: engine.averageBits ?? config.quantization?.average_bits ?? (8 * engine.weightBytes) / parameters,
      bits: engine.bits,
      weightBytes: engine.weightBytes,
      gpuBytes: engine.gpuBytes,
      gpu: engine.gpuInfo,
      kernels: engine.kernels,
      adapters: adapters.list,
      fromCache: opened.fromCache,
      palettized: palettized,
    };
  }
}

function windowOf({ contextTokens: trained }: ModelConfig, asked = Math.min(trained, DEFAULT_CONTEXT_TOKENS)): number {
  if (asked <= trained) return asked;
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[load] contextTokens must be at most ${trained}, the window that this model was trained for, but is ${asked}.`,
  );
}

/** Weights of a llama-shaped model: embedding, four attention and three MLP matrices and two norms a layer, final norm, head. */
function countParameters({ L, D, H, G, d, F, V, tiedHead }: ModelConfig): number {
  const layer = D * d * (2 * H + 2 * G) + 3 * D * F + 2 * D;
  return V * D * (tiedHead ? 1 : 2) + L * layer + D;
}
