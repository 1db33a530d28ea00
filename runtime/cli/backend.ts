/** What `run` and `eval` need of whoever computes: the engine on the GPU, or the reference on the CPU. */

import type { KvFormat } from "../../kernels/kv-cache";
import type { DecodeOptions } from "../engine/decode";
import { ReferenceModel } from "../engine/reference/model";
import { requestNodeGpu } from "./gpu";
import type { OpenCheckpoint } from "./open-checkpoint";
import { makeProgress } from "./progress";

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
  createSequence(options: { contextTokens: number }): Promise<Sequence>;
  dispose(): void;
}

/**
 * Loads the weights, with progress on stderr.
 * @param options.int8 whether linears multiply 8-bit integers; by default the GPU's own choice, and not the reference.
 * @param options.kv how keys and values are cached; default int8, and f32 for plain weights on the reference.
 */
export async function openBackend(
  { checkpoint, config }: OpenCheckpoint,
  { reference, int8, kv }: { reference: boolean; int8?: boolean; kv?: KvFormat },
): Promise<Backend> {
  const progress = makeProgress();
  const onProgress = (done: number, total: number) => progress.update(done, total, "weights");
  try {
    if (reference) {
      const model = await ReferenceModel.load(checkpoint, config, { onProgress, int8: int8 ? "activations too" : undefined });
      const precision = kv ?? (config.quantization ? { k: 8, v: 8 } : "f32");
      return {
        createSequence: ({ contextTokens }) => model.createSequence({ contextTokens, kv: precision }),
        dispose: () => model.dispose(),
      };
    }
    const { Engine } = await import("../engine/engine");
    const choice = int8 === undefined ? undefined : { int8 };
    return await Engine.create({ gpu: await requestNodeGpu(), config, checkpoint, kv, onProgress, choice });
  } finally {
    progress.clear();
  }
}
