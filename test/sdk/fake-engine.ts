/** A model without a GPU: every character is a token, and the "model" answers from a script. */
import type { AdapterInfo, AdapterUse } from "../../runtime/engine/adapter-basis";
import type { ModelConfig } from "../../runtime/engine/config";
import type { DecodeOptions } from "../../runtime/engine/decode";
import { OchreError } from "../../runtime/errors";
import type { Checkpoint } from "../../runtime/formats/checkpoint";
import type { AdapterWeights } from "../../runtime/formats/peft";
import type {
  BitChange,
  BitChoice,
  KernelReport,
  KernelTime,
  Message,
  ProfileOptions,
  SelfTestOptions,
  SelfTestRow,
} from "../../runtime/sdk/types";
import type { ChatText } from "../../runtime/worker/chat";
import type { EngineRequest, EngineSurface, SequenceSurface } from "../../runtime/worker/surface";

const TURN = { system: 1000, user: 1001, assistant: 1002 };
export const END = 2;

/** Role, one id a character, END. */
export const characterText: ChatText = {
  render(messages: readonly Message[], { addGenerationPrompt }) {
    const ids = messages.flatMap(({ role, content }) => [TURN[role], ...content].map(toId).concat(END));
    return addGenerationPrompt ? [...ids, TURN.assistant] : ids;
  },
  encode: (text) => [...text].map(toId),
  detokenizer: () => ({ push: (ids) => String.fromCodePoint(...ids), flush: () => "" }),
};
const toId = (part: string | number): number => (typeof part === "number" ? part : (part.codePointAt(0) as number));

export const config: ModelConfig = {
  family: "llama",
  L: 2,
  D: 8,
  H: 2,
  G: 1,
  d: 4,
  F: 16,
  V: 2000,
  contextTokens: 100,
  normEps: 1e-5,
  rope: { theta: 10000 },
  tiedHead: true,
  eosIds: [END],
};

export const emptyCheckpoint: Checkpoint = {
  name: "fake",
  files: { config: {} },
  tensors: new Map(),
  read: () => Promise.reject(new Error("no tensors")),
  readBytes: () => Promise.reject(new Error("no tensors")),
  async *stream() {},
};

export class FakeEngine implements EngineSurface {
  readonly config = config;
  weightBytes = 1000;
  averageBits: number | undefined;
  bits: Record<string, number> = {};
  gpuBytes = 1000;
  readonly gpuInfo = {
    vendor: "fake",
    architecture: "none",
    description: "a script",
    features: ["shader-f16"],
    isFallback: false,
  };
  readonly kernels: KernelReport = {
    choice: { software: false, int8: true, f32Pairs: false, lanes: 16 },
    source: "stored",
  };
  copyGigabytesPerSecond: number | undefined;
  readonly loadMs = { upload: 3, compile: 4 };
  readonly lost: Promise<{ reason: string; message: string }>;
  loseDevice!: (info: { reason: string; message: string }) => void;
  /** What the next replies will be, as characters or token ids; "…" when it has run out. */
  script: (string | number[])[] = [];
  /** Awaited before each batch of a reply: where tests hold the device. */
  beforeBatch: () => Promise<void> = () => new Promise((resolve) => setTimeout(resolve));
  batchTokens = 2;
  /** A factor on what prefillLogits gives. */
  sureness = 1;
  /** Lengths of what was prefilled. */
  readonly prefills: number[] = [];
  latestSequence?: FakeSequence;
  readonly decodes: DecodeOptions[] = [];
  /** What it was made from. */
  request?: EngineRequest;
  disposed = false;
  sequences = 0;
  readonly adapters = new Set<string>();
  readonly alive = new Set<FakeSequence>();
  /** Device work going on now. More than one is a bug in the queue. */
  busy = 0;

  constructor() {
    this.lost = new Promise((resolve) => {
      this.loseDevice = resolve;
    });
  }

  async createSequence({ contextTokens }: { contextTokens: number }): Promise<FakeSequence> {
    this.gpuBytes += contextTokens;
    this.sequences++;
    this.latestSequence = new FakeSequence(this, contextTokens);
    this.alive.add(this.latestSequence);
    return this.latestSequence;
  }

  async copyBandwidth(signal?: AbortSignal): Promise<number> {
    await this.step(this.beforeBatch);
    signal?.throwIfAborted();
    this.copyGigabytesPerSecond = 0.001;
    return this.copyGigabytesPerSecond;
  }

  async profile({ depth = 0, onRow, signal }: ProfileOptions): Promise<KernelTime[]> {
    await this.step(this.beforeBatch);
    signal?.throwIfAborted();
    const row = { kernel: "attention-decode", weights: "", dispatches: 2, ms: 1, bytes: 100 * depth, multiplyAdds: 1 };
    onRow?.(row);
    return [row];
  }

  async selfTest({ onRow, signal }: SelfTestOptions): Promise<SelfTestRow[]> {
    const rows: SelfTestRow[] = ["matvec-palette", "head-int8"].map((kernel) => {
      return { kernel, case: "fake", variant: "portable", nmse: 0, gate: 1e-10, ok: true, ms: 1, bytes: 1e6 };
    });
    for (const row of rows) {
      await this.step(this.beforeBatch);
      signal?.throwIfAborted();
      onRow?.(row);
    }
    return rows;
  }

  async setBits(bits: BitChoice): Promise<BitChange> {
    if ("unknown" in bits) throw new OchreError("INVALID_ARGUMENT", "[setBits] no such linear.");
    this.bits = bits;
    this.weightBytes = 900;
    return { linears: Object.keys(bits).length, hostMs: 0.1, readMs: 0, weightBytes: this.weightBytes };
  }

  async loadAdapter({ name, rank }: AdapterWeights): Promise<AdapterInfo> {
    if (this.adapters.has(name)) throw new OchreError("INVALID_ARGUMENT", `[adapter] "${name}" is loaded already.`);
    this.adapters.add(name);
    this.gpuBytes += 50;
    return { name, rank, bytes: 50 };
  }

  async unloadAdapter(name: string): Promise<void> {
    if (this.uses.includes(name)) throw new Error("an adapter in use was unloaded");
    this.adapters.delete(name);
    this.gpuBytes -= 50;
  }

  /** Names that some sequence uses. */
  get uses(): string[] {
    return [...this.alive].flatMap((sequence) => sequence.uses.map(({ name }) => name));
  }

  dispose(): void {
    this.disposed = true;
    this.loseDevice({ reason: "destroyed", message: "dispose() was called" });
  }

  async step<T>(work: () => Promise<T>): Promise<T> {
    if (this.busy > 0) throw new Error("two tasks on the device at once");
    this.busy++;
    return work().finally(() => this.busy--);
  }
}

class FakeSequence implements SequenceSurface {
  readonly ids: number[] = [];
  readonly contextTokens: number;
  readonly dispatchesPerLayer = 7;
  readonly dispatchesPerToken = 20;
  readonly encoded = { ms: 0, tokens: 0 };
  readonly speculated = { drafted: 0, accepted: 0 };
  uses: readonly AdapterUse[] = [];
  readonly #engine: FakeEngine;

  constructor(engine: FakeEngine, contextTokens: number) {
    this.#engine = engine;
    this.contextTokens = contextTokens;
  }

  get kvBytes(): number {
    return this.contextTokens;
  }

  bytesPerToken(): number {
    return this.#engine.weightBytes + this.ids.length;
  }

  truncate(length: number): void {
    this.ids.length = Math.min(this.ids.length, length);
  }

  async setAdapters(uses: readonly AdapterUse[]): Promise<void> {
    if (JSON.stringify(uses) === JSON.stringify(this.uses)) return;
    const unknown = uses.find(({ name }) => !this.#engine.adapters.has(name));
    if (unknown) throw new Error(`${unknown.name} is not loaded`);
    this.uses = uses;
    this.truncate(0);
  }

  async prefill(ids: readonly number[], { signal }: { signal?: AbortSignal }): Promise<void> {
    signal?.throwIfAborted();
    this.#engine.prefills.push(ids.length);
    await this.#engine.step(this.#engine.beforeBatch);
    signal?.throwIfAborted();
    this.ids.push(...ids);
    if (this.ids.length > this.contextTokens) throw new Error("the cache overflowed");
  }

  /** Twice as likely as any other is the id that came. */
  async prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void> {
    await this.prefill(ids, {});
    for (const [t, id] of ids.entries()) {
      const logits = new Float32Array(config.V);
      logits[id] = Math.log(2) * this.#engine.sureness;
      onLogits(this.ids.length - ids.length + t, logits);
    }
  }

  async *decode(request: DecodeOptions): AsyncGenerator<number[]> {
    this.#engine.decodes.push(request);
    const reply = [...(this.#engine.script.shift() ?? "…")].map(toId);
    const sampled = [...reply, END].slice(0, request.maxTokens);
    for (let i = 0; i < sampled.length; i += this.#engine.batchTokens) {
      await this.#engine.step(this.#engine.beforeBatch);
      request.signal?.throwIfAborted();
      const batch = sampled.slice(i, i + this.#engine.batchTokens);
      // The last one sampled is cached only when the next batch runs.
      if (i > 0) this.ids.push(sampled[i - 1]);
      this.encoded.ms += 0.5 * batch.length;
      this.encoded.tokens += batch.length;
      if (request.speculate === "always") {
        this.speculated.drafted += 3;
        this.speculated.accepted += batch.length - 1;
      }
      this.ids.push(...batch.slice(0, -1));
      if (this.ids.length > this.contextTokens) throw new Error("the cache overflowed");
      yield batch;
    }
  }

  dispose(): void {
    this.#engine.gpuBytes -= this.contextTokens;
    this.#engine.sequences--;
    this.#engine.alive.delete(this);
  }
}
