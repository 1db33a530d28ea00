/** What `run` and `eval` need of whoever computes: the engine on the GPU, or the reference on the CPU. */

import type { KvFormat } from "../../kernels/kv-cache";
import type { AdapterUse } from "../engine/adapter-basis";
import type { DecodeOptions } from "../engine/decode";
import { ReferenceModel } from "../engine/reference/model";
import { OchreError } from "../errors";
import type { AdapterWeights } from "../formats/peft";
import { requestNodeGpu } from "./gpu";
import type { OpenCheckpoint } from "./open-checkpoint";
import { makeProgress } from "./progress";
import type { WidthOptions } from "./width-options";

/** One context. */
export interface Sequence {
  /** Appends ids. */
  prefill(ids: readonly number[]): Promise<void>;
  /** [V], after the last id. */
  logits(): Promise<Float32Array>;
  /** Draws tokens and gives them in batches as they come. */
  decode(options: DecodeOptions): AsyncGenerator<number[]>;
  /** Appends ids and hands out the logits [V] after each of them. */
  prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void>;
  /** Forgets everything after the first n ids. */
  truncate(n: number): void;
  dispose(): void;
}

export interface Backend {
  /** What computes, and how exactly: for a report. */
  runs: string;
  createSequence(options: { contextTokens: number }): Promise<Sequence>;
  dispose(): void;
}

export interface BackendOptions extends WidthOptions {
  /** Adapters that every sequence uses, in order. */
  adapters?: readonly AdapterWeights[];

  /** The reference on the CPU: sums in f64, or (`fast`) in f32. */
  reference?: boolean | "fast";
  /** Whether linears multiply 8-bit integers; by default the GPU's own choice, and not the reference. */
  int8?: boolean;
  /** How keys and values are cached, f32 on the reference only; default int8, and f32 for plain weights on the reference. */
  kv?: KvFormat | "f32";
}

/**
 * Loads the weights, with progress on stderr.
 * @throws OchreError what loading and the engine throw; INVALID_ARGUMENT for a cache in f32 on the GPU.
 */
export async function openBackend(
  { checkpoint, config }: OpenCheckpoint,
  { reference = false, int8, kv, bits, averageBits, adapters = [] }: BackendOptions,
): Promise<Backend> {
  const progress = makeProgress();
  const onProgress = (done: number, total: number) => progress.update(done, total, "weights");
  try {
    if (reference) {
      const fast = reference === "fast";
      const model = await ReferenceModel.load(checkpoint, config, {
        onProgress,
        int8: int8 ? "activations too" : undefined,
        fast,
        bits,
        averageBits,
      });
      for (const adapter of adapters) await model.loadAdapter(adapter);
      const precision = kv ?? (config.quantization ? { k: 8, v: 8 } : "f32");
      return {
        runs: [
          `the CPU, sums in ${fast ? "f32" : "f64"}`,
          config.quantization && `palettes ${int8 ? "and activations in int8" : "as stored"}`,
          describeKv(precision),
          ...describeAdapters(adapters),
        ]
          .filter(Boolean)
          .join(", "),
        createSequence: async ({ contextTokens }) => use(adapters, await model.createSequence({ contextTokens, kv: precision })),
        dispose: () => model.dispose(),
      };
    }
    if (kv === "f32") throw new OchreError("INVALID_ARGUMENT", "[gpu] keys and values in f32 are kept on the CPU only: use f16.");
    const { Engine } = await import("../engine/engine");
    const choice = int8 === undefined ? undefined : { int8 };
    const engine = await Engine.create({ gpu: await requestNodeGpu(), config, checkpoint, kv, averageBits, onProgress, choice });
    if (bits) await engine.setBits(bits);
    for (const adapter of adapters) await engine.loadAdapter(adapter);
    const { vendor, architecture, description } = engine.gpuInfo;
    const linears = config.quantization && `linears in ${engine.kernels.choice.int8 ? "int8" : "floats"}`;
    return {
      runs: [
        `the GPU (${description || `${vendor} ${architecture}`})`,
        linears,
        describeKv(kv ?? { k: 8, v: 8 }),
        ...describeAdapters(adapters),
      ]
        .filter(Boolean)
        .join(", "),
      createSequence: async (options) => use(adapters, await engine.createSequence(options)),
      dispose: () => engine.dispose(),
    };
  } finally {
    progress.clear();
  }
}

const describeAdapters = (adapters: readonly AdapterWeights[]): string[] =>
  adapters.map(({ name, rank }) => `adapter ${name} of rank ${rank}`);

async function use<S extends Sequence & { setAdapters(uses: AdapterUse[]): Promise<void> }>(
  adapters: readonly AdapterWeights[],
  sequence: S,
): Promise<S> {
  await sequence.setAdapters(adapters.map(({ name }) => ({ name })));
  return sequence;
}

const describeKv = (kv: KvFormat | "f32"): string =>
  kv === "f32" ? "keys and values in f32" : `keys of ${kv.k} bits, values of ${kv.v}`;
