/** What the worker asks of an engine. The engine's classes satisfy these; tests put a scripted one in their place. */
import type { AdapterInfo, AdapterUse } from "../engine/adapter-basis";
import type { ModelConfig } from "../engine/config";
import type { DecodeOptions } from "../engine/decode";
import type { KvChoice } from "../engine/kv-format";
import type { Checkpoint } from "../formats/checkpoint";
import type { AdapterWeights } from "../formats/peft";
import type { BitChange, BitChoice, KernelReport, KernelTime, ProfileOptions, SelfTestOptions, SelfTestRow } from "../sdk/types";

export interface EngineRequest {
  config: ModelConfig;
  checkpoint: Checkpoint;
  powerPreference?: GPUPowerPreference;
  disabledFeatures: readonly ("shader-f16" | "subgroups")[];
  /** Window of the sequences to come: what can be compiled for them is compiled now. */
  contextTokens: number;
  /** How their caches keep keys and values. */
  kv: KvChoice;
  /** Leave planes away until the linears have so many bits a weight at most. */
  averageBits?: number;
  /** Find the fastest kernels by trying them. */
  tune: boolean;
  /** Keep what was found for the next load. */
  remember: boolean;
  onProgress?: (loadedBytes: number, totalBytes: number) => void;
  signal?: AbortSignal;
}

export interface EngineSurface {
  readonly config: ModelConfig;
  readonly weightBytes: number;
  /** Linear to the average of its codes' bits now; empty where the weights are plain. */
  readonly bits: Record<string, number>;
  /** Bits per weight of the linears now, palettes and scales counted; undefined where the weights are plain. */
  readonly averageBits: number | undefined;
  /** Other bits for some linears from the next step on, whatever runs meanwhile. */
  setBits(bits: BitChoice): Promise<BitChange>;
  /** Everything held on the GPU now, caches included. */
  readonly gpuBytes: number;
  readonly gpuInfo: { vendor: string; architecture: string; description: string; features: string[]; isFallback: boolean };
  readonly kernels: KernelReport;
  readonly loadMs: { upload: number; compile: number };
  /** Resolves when the device is lost; reason "destroyed" after dispose(). */
  readonly lost: Promise<{ reason: string; message: string }>;
  loadAdapter(adapter: AdapterWeights): Promise<AdapterInfo>;
  unloadAdapter(name: string): Promise<void>;
  createSequence(options: { contextTokens: number }): Promise<SequenceSurface>;
  /** GB/s, read plus written; undefined until it was measured. */
  readonly copyGigabytesPerSecond: number | undefined;
  /** Measures it at the first call; undefined where there is no room for it. */
  copyBandwidth(signal?: AbortSignal): Promise<number | undefined>;
  /** Where the time of one decoded token goes. */
  profile(options: ProfileOptions): Promise<KernelTime[]>;
  /** Every kernel against its twin. */
  selfTest(options: SelfTestOptions): Promise<SelfTestRow[]>;
  dispose(): void;
}

export interface SequenceSurface {
  /** Tokens whose keys and values are cached. */
  readonly ids: readonly number[];
  readonly contextTokens: number;
  readonly kvBytes: number;
  readonly dispatchesPerToken: number;
  readonly dispatchesPerLayer: number;
  /** CPU milliseconds of encoding and submitting decode passes so far, and how many tokens they were for. */
  readonly encoded: Readonly<{ ms: number; tokens: number }>;
  /** Tokens guessed and checked so far, and how many of them were right. */
  readonly speculated: Readonly<{ drafted: number; accepted: number }>;
  /** Bytes of weights and cache that one decoded token reads now. */
  bytesPerToken(): number;
  truncate(length: number): void;
  /** What adapters add counts from now on; where that is something else than before, what is cached is forgotten. */
  setAdapters(uses: readonly AdapterUse[]): Promise<void>;
  /** `stepByStep`: one token a step, to measure what more at once are worth. */
  prefill(ids: readonly number[], options: { signal?: AbortSignal; stepByStep?: boolean }): Promise<void>;
  /** Appends ids and hands out the logits [V] after each. */
  prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void>;
  /** Batches of sampled ids. The last one sampled is not cached yet; a stop id comes last, then the generator ends. */
  decode(options: DecodeOptions): AsyncGenerator<number[]>;
  dispose(): void;
}
