/** A model on a GPU: the device, the weights, and the sequences that run over them. */
import type { KernelChoice } from "../../kernels/define-kernel";
import type { KvFormat } from "../../kernels/kv-cache";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import type { AdapterWeights } from "../formats/peft";
import { measureCopyBandwidth } from "../gpu/copy-bandwidth";
import { Gpu, type GpuInfo, type LossInfo } from "../gpu/device";
import type { AdapterInfo } from "./adapter-basis";
import { AdapterStore } from "./adapter-store";
import type { ModelConfig } from "./config";
import { type KernelTime, type ProfileOptions, profileToken } from "./profile";
import { type SelfTestOptions, type SelfTestRow, selfTest } from "./self-test/self-test";
import { Sequence } from "./sequence";
import type { SequenceModel } from "./step-programs";
import { chooseKernels, type KernelReport, type TuneOptions } from "./tune";
import { loadWeights, type ModelWeights } from "./weights";
import type { WidthChoice } from "./width-choice";
import { type WidthChange, Widths } from "./widths";

export interface EngineOptions {
  gpu: GPU;
  config: ModelConfig;
  checkpoint: Checkpoint;
  powerPreference?: GPUPowerPreference;
  disabledFeatures?: readonly ("shader-f16" | "subgroups")[];
  /** Kernels to force; default: by what the adapter is. */
  choice?: Partial<KernelChoice>;
  /** Find the fastest kernels by trying them; absent: the choice is made by what the adapter is. */
  tune?: TuneOptions;
  /** How sequences keep keys and values; default 8 bits. */
  kv?: KvFormat;
  /** Leave away the last planes of the least harmful blocks until the linears have so many bits a weight at most. */
  averageBits?: number;
  /** Compile now for sequences of this window, so that the first prompt does not wait for it. */
  contextTokens?: number;
  onProgress?: (loadedBytes: number, totalBytes: number) => void;
  signal?: AbortSignal;
}

export class Engine {
  readonly config: ModelConfig;
  readonly loadMs: { upload: number; compile: number };
  readonly gpu: Gpu;
  /** Which kernels run, and how that was decided. */
  readonly kernels: KernelReport;
  /** Once measured. */
  copyGigabytesPerSecond: number | undefined;
  private readonly weights: ModelWeights;
  private readonly kv: KvFormat | undefined;
  private readonly widths: Widths;
  private readonly store: AdapterStore;
  /** Made while loading, for the first session that asks for its window. */
  private spare: Sequence | undefined;

  private constructor(
    gpu: Gpu,
    { config, weights, kv }: SequenceModel,
    adapters: AdapterStore,
    checkpoint: Checkpoint,
    kernels: KernelReport,
    spare: Sequence | undefined,
    loadMs: Engine["loadMs"],
  ) {
    this.gpu = gpu;
    this.config = config;
    this.weights = weights;
    this.kv = kv;
    this.widths = new Widths(gpu, config, weights, checkpoint);
    this.store = adapters;
    this.kernels = kernels;
    this.spare = spare;
    this.loadMs = loadMs;
  }

  /**
   * Requests a device, uploads the weights, chooses kernels and, given `contextTokens`, compiles every kernel.
   * @throws OchreError GPU_UNAVAILABLE, GPU_MEMORY, GPU_LOST, MODEL_FORMAT, MODEL_UNSUPPORTED; INVALID_ARGUMENT for an averageBits
   *   that cannot be reached; the signal's reason on abort.
   */
  static async create(options: EngineOptions): Promise<Engine> {
    const { config, checkpoint, averageBits, kv, contextTokens, onProgress, signal } = options;
    if (config.d % 16 !== 0 || config.d > 256) {
      throw new OchreError("MODEL_UNSUPPORTED", `[engine] head_dim must be a multiple of 16 up to 256 but is ${config.d}.`);
    }
    const gpu = await Gpu.request(options.gpu, {
      powerPreference: options.powerPreference,
      disable: options.disabledFeatures,
      choice: options.choice,
    });
    try {
      signal?.throwIfAborted();
      const startedAt = performance.now();
      const weights = await loadWeights(gpu, config, checkpoint, { averageBits, onProgress, signal });
      await gpu.device.queue.onSubmittedWorkDone();
      gpu.check();
      const uploadedAt = performance.now();
      // With what is chosen everything after this is recorded.
      const adapters = new AdapterStore(gpu, config, checkpoint);
      const model = { gpu, config, weights, kv, adapters };
      const { choice, tune } = options;
      const kernels: KernelReport = tune
        ? await chooseKernels(model, { ...tune, forced: choice, signal })
        : { choice: gpu.choice, source: "prior" };
      const spare = contextTokens === undefined ? undefined : await Sequence.create(model, contextTokens);
      signal?.throwIfAborted();
      const loadMs = { upload: uploadedAt - startedAt, compile: performance.now() - uploadedAt };
      return new Engine(gpu, model, adapters, checkpoint, kernels, spare, loadMs);
    } catch (error) {
      gpu.destroy();
      throw error;
    }
  }

  get weightBytes(): number {
    return this.weights.bytes;
  }

  /** Linear to the average of its blocks' widths now; empty where the weights are plain. */
  get bits(): Record<string, number> {
    return this.widths.bits;
  }

  /** Bits per weight of the linears now, palettes and scales counted; undefined where the weights are plain. */
  get averageBits(): number | undefined {
    return this.widths.averageBits;
  }

  /** Everything held on the GPU now, caches included. */
  get gpuBytes(): number {
    return this.gpu.bytes;
  }

  get gpuInfo(): GpuInfo {
    return this.gpu.info;
  }

  get lost(): Promise<LossInfo> {
    return this.gpu.lost;
  }

  /** @throws OchreError GPU_MEMORY when the cache does not fit. */
  async createSequence({ contextTokens }: { contextTokens: number }): Promise<Sequence> {
    const { spare, gpu, config, weights, kv, store } = this;
    if (spare?.contextTokens === contextTokens) {
      this.spare = undefined;
      return spare;
    }
    return Sequence.create({ gpu, config, weights, kv, adapters: store }, contextTokens);
  }

  /** Adapters that are loaded. */
  get adapters(): AdapterInfo[] {
    return this.store.list;
  }

  /**
   * An adapter onto the GPU, for sequences to use by its name: see Sequence.setAdapters. May be called while sequences run.
   * @throws OchreError INVALID_ARGUMENT for a name that is taken, MODEL_UNSUPPORTED for a rank beyond 64, MODEL_FORMAT where the
   *   model was palettized without the norm weights that adapters need, GPU_MEMORY.
   */
  loadAdapter(adapter: AdapterWeights): Promise<AdapterInfo> {
    return this.store.add(adapter);
  }

  /** Its memory back. @throws OchreError INVALID_ARGUMENT while a sequence uses it, or when it is not loaded. */
  unloadAdapter(name: string): Promise<void> {
    return this.store.remove(name);
  }

  /** Other widths for some linears, from the next step on; see Widths.set. May be called while sequences run. */
  setBits(choice: WidthChoice): Promise<WidthChange> {
    return this.widths.set(choice);
  }

  /** Every kernel against its twin on this device. */
  selfTest(options: SelfTestOptions): Promise<SelfTestRow[]> {
    return selfTest(this.gpu, options);
  }

  /** Measures it at the first call. Undefined where the device has no room for it. @throws the signal's reason on abort. */
  async copyBandwidth(signal?: AbortSignal): Promise<number | undefined> {
    this.copyGigabytesPerSecond ??= await measureCopyBandwidth(this.gpu.device, signal);
    return this.copyGigabytesPerSecond;
  }

  /** Where the time of one decoded token goes. Throws as profileToken does. */
  profile(options: ProfileOptions): Promise<KernelTime[]> {
    const { gpu, config, weights, kv } = this;
    return profileToken({ gpu, config, weights, kv }, options);
  }

  dispose(): void {
    this.gpu.destroy();
  }
}
