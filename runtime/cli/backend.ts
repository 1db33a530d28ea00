/** What `run` and `eval` need of whoever computes: the engine on the GPU, or the reference on the CPU. */

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
 * Loads the weights, with progress on stderr. The reference keeps keys and values of a palettized model in int8, as the
 * GPU does, else in f32.
 */
export async function openBackend(
  { checkpoint, config }: OpenCheckpoint,
  { reference }: { reference: boolean },
): Promise<Backend> {
  const progress = makeProgress();
  const onProgress = (done: number, total: number) => progress.update(done, total, "weights");
  try {
    if (reference) {
      const model = await ReferenceModel.load(checkpoint, config, { onProgress });
      const kv = config.quantization ? ({ k: 8, v: 8 } as const) : "f32";
      return {
        createSequence: ({ contextTokens }) => model.createSequence({ contextTokens, kv }),
        dispose: () => model.dispose(),
      };
    }
    const { Engine } = await import("../engine/engine");
    return await Engine.create({ gpu: await requestNodeGpu(), config, checkpoint, onProgress });
  } finally {
    progress.clear();
  }
}
