/** Types of the public surface. Shapes and units on each field; behaviour in the classes that use them. */
import type { Metrics } from "../metrics";
import type { Model } from "./model";

/** What `Ochre.load()` takes. */
export type ModelSource = string | URL | File | readonly File[] | FileList | FileSystemFileHandle | FileSystemDirectoryHandle;

export interface LoadProgress {
  /** What is happening now. "read" and "palettize" come first, and only where the visitor's own checkpoint is palettized. */
  phase: "read" | "palettize" | "download" | "upload" | "compile" | "ready";
  /** Bytes done and to do, over the whole load; `total` is 0 until it is known. In "palettize": linears, over that phase. */
  loaded: number;
  total: number;
  /** The file at hand, where there is one; in "palettize" the linear that was last done. */
  file?: string;
}

/** How well the visitor's own checkpoint is palettized. */
export interface PalettizeChoices {
  /**
   * Bits per weight of the linears, palettes and scales counted, at least 2.1: each block of 16 rows gets the width, 2 to 4, that
   * helps most, which takes more than twice as long. Default: 4 bits everywhere.
   */
  averageBits?: number;
  /** A text like those that the model is for, a few thousand words: its errors are kept small on that. Default: random tokens. */
  text?: string;
}

/** What palettizing came to. */
export interface PalettizedReport {
  seconds: number;
  /** Of the model that was made. */
  bytes: number;
  /** Of the linears, palettes and scales counted. */
  averageBits: number;
  /** Norm of the error of all linears over the norm of their weights. */
  relativeError: number;
}

/** Halves, or codes of 8 or 4 bits with a scale for each token and kv head. */
export type KvType = "f16" | "int8" | "int4";

export interface LoadOptions {
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
  /** Size of each session's KV cache in tokens; default the smaller of the model's window and 4,096. */
  contextTokens?: number;
  /**
   * How each session's cache keeps keys and values (default "int8"): "f16" takes twice the memory, "int4" half of it at a small
   * loss of quality, { k: "int8", v: "int4" } lies between.
   */
  kv?: KvType | { k: KvType; v: KvType };
  /**
   * Keep within so many bits a weight of the linears, palettes and scales counted: the last planes of the blocks that it harms least are not
   * put on the GPU, and files that hold nothing else are not fetched. A shorter code is a fallback: error feedback fits the width
   * that a block was made for, so a model compiled to this average is better. `model.setBits` brings them back.
   */
  averageBits?: number;
  /** Keep verified shards in IndexedDB (default true). Without it nothing is stored. */
  cache?: boolean;
  /** For a plain checkpoint among the visitor's own files; others are loaded as they are. */
  palettize?: PalettizeChoices;
  gpu?: {
    powerPreference?: "low-power" | "high-performance";
    /** Features to leave unused although the device has them: for tests and for working around a driver. */
    disable?: ("shader-f16" | "subgroups")[];
    /**
     * At the first load on a GPU, spend up to 0.4 s on finding out which kernels are fastest there (default true). The answer is
     * kept in IndexedDB, unless `cache` is false.
     */
    tune?: boolean;
  };
}

export type Role = "system" | "user" | "assistant";
export interface Message {
  role: Role;
  content: string;
}

/** Something that the model learned to do besides: low-rank terms beside its weights (LoRA). */
export interface Adapter {
  name: string;
  /** The largest of its linears'. */
  rank: number;
  /** On the GPU. */
  bytes: number;
  /** How much of it counts: 1 as it was trained. */
  weight: number;
}

export interface LoadAdapterOptions {
  /** What sessions call it; default the last part of where it comes from. */
  name?: string;
  /** How much of it counts. Default 1. */
  weight?: number;
  signal?: AbortSignal;
}

export interface SessionOptions {
  /** Name of a loaded adapter to answer with; default none. */
  adapter?: string | null;
  initialPrompts?: Message[];
  /** Sampling defaults of the session; each prompt may override them. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
  signal?: AbortSignal;
}

export interface PromptOptions {
  signal?: AbortSignal;
  /** Most tokens to generate; default: to the end of the window. */
  maxTokens?: number;
  /** 0 is greedy. Default 0. */
  temperature?: number;
  /** Keep the k most likely tokens (ties at the edge stay). Default: all. */
  topK?: number;
  /** Keep the smallest set of tokens whose probability reaches p. Default 1. */
  topP?: number;
  /** Keep tokens at least this fraction as likely as the likeliest. Default 0. */
  minP?: number;
  /** Same seed, same text on the same device. Default: random, reported in the metrics. */
  seed?: number;
  /**
   * Guess what comes next where the text repeats itself, and check several tokens in one pass: the same tokens, sooner where
   * guesses are right. Default: as soon as measured times and hits say that it pays.
   */
  speculate?: boolean;
  /** Called once with the metrics of this reply, just before it ends. */
  onmetrics?: (metrics: Metrics) => void;
}

export interface BenchmarkOptions {
  /** Tokens that are read at once, after those of `depth`. */
  promptTokens: number;
  /** Tokens to decode after them. */
  generateTokens: number;
  /** Tokens that are in the cache beforehand. Default 0. */
  depth?: number;
  /** Read the prompt one token at a time, as decoding does but without sampling. Default false. */
  stepByStep?: boolean;
  /** Measured runs. Default 3. */
  repetitions?: number;
  /** Runs before those, not counted. Default 1. */
  warmup?: number;
  /** Called after each run, warm-up included. */
  onProgress?: (progress: { run: number; runs: number }) => void;
  signal?: AbortSignal;
}

export interface BenchmarkRun {
  /** From the start of reading the prompt to the first token. */
  ttftMs: number;
  prefillTokensPerSecond?: number;
  /** Absent where only one token was decoded. */
  decodeTokensPerSecond?: number;
  /** From each token to the next; tokens of one GPU submit share its time evenly. */
  gapsMs: number[];
}

/** What was not measured is absent. */
export interface BenchmarkResult {
  promptTokens: number;
  generateTokens: number;
  depth: number;
  stepByStep: boolean;
  runs: BenchmarkRun[];
  /** Time between tokens, over all runs. */
  itlMs?: { p50: number; p95: number };
  dispatchesPerLayer: number;
  dispatchesPerToken: number;
  /** CPU time to encode and submit one token's pass. */
  encodeMsPerToken?: number;
  /** Of weights and cache, read for the last token. */
  bytesPerToken: number;
  weightBytes: number;
  kvBytes: number;
}

export interface EvaluateOptions {
  /** Read from its beginning, in windows that do not overlap. */
  text: string;
  /** Tokens of a window; all but its first are scored. Default the smaller of 512 and the model's window. */
  context?: number;
  /** At most so many tokens of the text, in whole windows. Default all. */
  tokens?: number;
  /** Another model, loaded beside this one: what this one was made of, or a finer version of it. */
  source?: Model;
  /** After each window, with the score so far. */
  onProgress?: (progress: { window: number; windows: number; soFar: Evaluation }) => void;
  signal?: AbortSignal;
}

/** How well a model predicts a text. */
export interface Evaluation {
  /** Tokens that were predicted. */
  scored: number;
  /** exp of the mean of -log p(token). */
  perplexity: number;
  /** How far its predictions are from the source's, where one was named. */
  source?: {
    /** The source's own. */
    perplexity: number;
    /** Share of predictions whose likeliest token is the source's. */
    topAgreement: number;
    /** Mean of KL(source || model), nats a token. */
    kl: number;
  };
}

export interface SelfTestOptions {
  /** Called as soon as a kernel was tried. */
  onRow?: (row: SelfTestRow) => void;
  signal?: AbortSignal;
}

/** One kernel, one set of operands, one variant, on this GPU against its twin on the CPU. */
export interface SelfTestRow {
  kernel: string;
  case: string;
  /** The shader's variant, and the mapping where the kernel has two. */
  variant: string;
  /** Normalised mean square error against the twin; absent where the kernel did not run. */
  nmse?: number;
  /** The largest that passes. */
  gate: number;
  ok: boolean;
  /** Time of one dispatch; with its merge for attention, with its pick for sampling. */
  ms?: number;
  /** What it reads and writes, growing lengths at their most. */
  bytes: number;
  /** Why the kernel did not run. */
  error?: string;
}

export interface ProfileOptions {
  /** Tokens in the cache. Default 0. */
  depth?: number;
  /** Called as soon as a kernel was timed. */
  onRow?: (row: KernelTime) => void;
  signal?: AbortSignal;
}

/** One kernel of a decoded token's pass, with one kind of matrix. */
export interface KernelTime {
  kernel: string;
  /** The matrix that it multiplies by, as `qkv_proj`; empty for other kernels. */
  weights: string;
  /** In one token's pass. */
  dispatches: number;
  /** Milliseconds of all of them, timed apart from other kernels. */
  ms: number;
  /** What all of them read and write. */
  bytes: number;
  multiplyAdds: number;
}

/** What may be chosen among kernels that compute the same. */
export interface KernelChoice {
  /** For software adapters: one thread a row. */
  software: boolean;
  /** Linears multiply 8-bit integers. */
  int8: boolean;
  /** Tables of palette pairs hold f32 instead of f16. */
  f32Pairs: boolean;
  /** Threads that share a row in decode; 0: by the row's width. */
  lanes: number;
}

/** A choice that was tried on this GPU with this model's weights. */
export interface TriedChoice {
  choice: KernelChoice;
  /** One token's layers, and the head where it fitted in; median. Absent where there was no time. */
  msPerToken?: number;
  /** Whether its kernels gave what their twins on the CPU give; absent where they were not asked, since it was slower. */
  ok?: boolean;
  /** Why it was discarded. */
  error?: string;
}

/** Which kernels run, and how that was decided. */
export interface KernelReport {
  choice: KernelChoice;
  /** "prior": by what the GPU says of itself. "tuned": measured in this load. "stored": measured in an earlier one. */
  source: "prior" | "tuned" | "stored";
  /** What measuring took, also where it decided nothing. */
  tunedMs?: number;
  /** What was tried in this load. */
  candidates?: TriedChoice[];
}

/**
 * Name of a linear to the bits that its codes may have at most: 2, 3 or 4. A name is whole (`model.layers.3.mlp.down_proj`) or
 * the end of one (`mlp.down_proj`: in every layer), and `*` in it stands for anything. Of several that fit the last counts.
 */
export type BitChoice = Readonly<Record<string, number>>;

/** What a change of bits took. */
export interface BitChange {
  /** Linears that changed. */
  linears: number;
  /** CPU time in the worker of encoding and submitting the change, for all of them. */
  hostMs: number;
  /** Time of reading planes that come back, from the store or the network; 0 where none do. */
  readMs: number;
  /** All weights on the GPU after it. */
  weightBytes: number;
}

export interface ModelInfo {
  name: string;
  family: string;
  layers: number;
  parameters: number;
  vocabulary: number;
  /** Tokens of each session's window. */
  contextTokens: number;
  /** Of the linears now, palettes and scales counted. */
  averageBits: number;
  /** Linear, as `model.layers.0.mlp.down_proj`, to the average of its codes' bits now; empty where weights are not palettized. */
  bits: Record<string, number>;
  /** Where a software adapter expands weights to int8 they take a byte each, whatever their bits. */
  weightBytes: number;
  /** Everything this model holds on the GPU now, KV caches included. */
  gpuBytes: number;
  /** `description` is the GPU's name for itself, empty in most browsers. */
  gpu: { vendor: string; architecture: string; description: string; features: string[]; isFallback: boolean };
  kernels: KernelReport;
  /** Loaded now; the first is the model's own, where it has one that wins back what palettizing lost. */
  adapters: Adapter[];
  /** Whether every shard came from the local store. */
  fromCache: boolean;
  /** Where this load palettized the model. */
  palettized?: PalettizedReport;
}
