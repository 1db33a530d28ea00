/**
 * The wire between a page and the worker that owns the device: everything that crosses it, in one file.
 * Comlink carries the calls; `transfer-handlers.ts` carries errors and abort signals across.
 */
import type { Metrics } from "../metrics";
import type {
  Adapter,
  BenchmarkOptions,
  BenchmarkResult,
  BitChange,
  BitChoice,
  EvaluateOptions,
  Evaluation,
  KernelTime,
  LoadOptions,
  LoadProgress,
  Message,
  ModelInfo,
  PalettizeChoices,
  PalettizedReport,
  PromptOptions,
  SelfTestRow,
  SessionOptions,
} from "../sdk/types";
import type { LocalFile } from "../store/local";

/** What the visitor chose: files side by side. */
export interface LocalFiles {
  /** What people call the model. */
  name: string;
  files: readonly LocalFile[];
}

/** A palettized model, wherever it is. */
export interface ModelPlace {
  /** Absolute URL of its directory, without a trailing slash: a blob worker has no base to resolve against. */
  url: string;
  /** Its files, where the URL is no server's and the store does not have them. */
  files?: readonly LocalFile[];
  /** Where it was palettized just now. */
  palettized?: PalettizedReport;
}

export interface LoadRequest extends ModelPlace, Pick<LoadOptions, "contextTokens" | "kv" | "averageBits" | "cache" | "gpu"> {}

/** An adapter, wherever it is. */
export interface AdapterPlace {
  name: string;
  /** Absolute URL of its directory. */
  url?: string;
  /** Instead of a URL: its folder in the model's `adapters/`. */
  folder?: string;
  /** Its two files, where the URL is no server's. */
  files?: readonly LocalFile[];
}

export interface AdapterRequest extends AdapterPlace {
  weight: number;
}

/** Sampling fields that a session's options and a prompt's options share, all structured-clonable. */
export type Sampling = Pick<PromptOptions, "temperature" | "topK" | "topP" | "minP" | "seed">;

export interface GenerateRequest extends Sampling {
  messages: Message[];
  /** Name of the adapter to answer with; null: none. */
  adapter: string | null;
  maxTokens?: number;
  /** Always or never; default: where it pays. */
  speculate?: boolean;
  /** `performance.timeOrigin + performance.now()` of the page when the author called. */
  calledAt: number;
}

export interface GenerateResult {
  text: string;
  /** "stop": the model ended its turn. "length": maxTokens. "context": the window is full. */
  finishReason: "stop" | "length" | "context";
  metrics: Metrics;
  contextUsage: number;
}

/** Defaults filled in. */
export type BenchmarkRequest = Required<Omit<BenchmarkOptions, "onProgress" | "signal">>;

export interface EvaluationRequest {
  text: string;
  /** Absent: the default. */
  context?: number;
  tokens?: number;
}

export type EvaluationProgress = Parameters<NonNullable<EvaluateOptions["onProgress"]>>[0];

/** The logits after each of these ids, [ids, V], which follow those asked before unless a window is new. */
export type Predict = (ids: number[], isNew: boolean) => Promise<Float32Array>;

/** What the worker exposes. Sessions are numbered handles; every promise rejects with OchreError or the signal's reason. */
export interface OchreWorker {
  load(request: LoadRequest, onProgress: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<ModelInfo>;
  info(): Promise<ModelInfo>;
  /** At once, also while a reply is under way. */
  setBits(bits: BitChoice): Promise<BitChange>;
  loadAdapter(request: AdapterRequest, signal?: AbortSignal): Promise<Adapter>;
  /** Sessions that used it go on without. */
  unloadAdapter(name: string): Promise<void>;
  createSession(
    options: Omit<SessionOptions, "signal">,
    signal?: AbortSignal,
  ): Promise<{ session: number; contextUsage: number; contextWindow: number }>;
  generate(
    session: number,
    request: GenerateRequest,
    onPiece?: (piece: string) => void,
    signal?: AbortSignal,
  ): Promise<GenerateResult>;
  /** Adds messages to the transcript and prefills them, with the adapter that is likely to answer. */
  append(session: number, messages: Message[], adapter: string | null, signal?: AbortSignal): Promise<{ contextUsage: number }>;
  /** Exact tokens that these messages would add. */
  measure(session: number, messages: Message[]): Promise<number>;
  destroySession(session: number): Promise<void>;
  benchmark(
    request: BenchmarkRequest,
    onProgress: (progress: { run: number; runs: number }) => void,
    signal?: AbortSignal,
  ): Promise<BenchmarkResult>;
  /** Scores a text; `predict` asks the source, which another worker holds. */
  evaluate(
    request: EvaluationRequest,
    onProgress: (progress: EvaluationProgress) => void,
    predict?: Predict,
    signal?: AbortSignal,
  ): Promise<Evaluation>;
  /** For another model's evaluation: see Predict. Its context stays until endPredictions. */
  predict(ids: number[], isNew: boolean): Promise<Float32Array>;
  endPredictions(): Promise<void>;
  /** GB/s, read plus written; measured at the first call. */
  copyBandwidth(signal?: AbortSignal): Promise<number | undefined>;
  profile(depth: number, onRow: (row: KernelTime) => void, signal?: AbortSignal): Promise<KernelTime[]>;
  selfTest(onRow: (row: SelfTestRow) => void, signal?: AbortSignal): Promise<SelfTestRow[]>;
  /** Resolves when the device is lost for a reason other than dispose(). */
  lost(): Promise<{ reason: string; message: string }>;
  dispose(): Promise<void>;
}

export interface CompileRequest extends LocalFiles {
  choices: PalettizeChoices;
  /** Keep the result in the store; else it comes back as files. */
  cache: boolean;
}

/** What the compiler's worker exposes: it works once, and whoever made it ends it. */
export interface CompilerWorker {
  compile(request: CompileRequest, onProgress: (progress: LoadProgress) => void, signal?: AbortSignal): Promise<ModelPlace>;
}
