/**
 * The source on the calibration text, once, layer by layer with one layer's weights at a time: what its head reads of each token, which
 * is what distillation aims at, and on the way the closed form of every low-rank term.
 */
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS } from "../formats/palettized";
import { type FoldRotations, foldLinear, normBefore } from "../palettize/fold";
import { breathe, readLayer } from "../palettize/layers";
import { inputName, Probe } from "../palettize/probe";
import type { LinearWeights } from "../palettize/token-stream";
import { type Head, headInput } from "./head";
import type { LayerTerms } from "./parameters";
import type { RecoverPool } from "./tasks";

export interface SourcePassOptions {
  pool: RecoverPool;
  ids: readonly number[];
  windowTokens: number;
  /** The source's, [V, D]. */
  embedding: Float32Array;
  /** The source's, which runs in its own basis. */
  head: Head;
  /** Where the terms go; absent where they are known. */
  fit?: {
    /** Of the folded weights, and the palettized ones in that basis. */
    rotations: FoldRotations;
    quantized: readonly LinearWeights[];
    terms: readonly LayerTerms[];
    seed: number;
  };
  onLayer?: (layer: number) => void;
  signal?: AbortSignal;
}

/**
 * `headInput` of every token, [tokens, D].
 * @throws OchreError MODEL_FORMAT for a weight that is missing, misshapen or not finite; the signal's reason on abort.
 */
export async function sourcePass(source: Checkpoint, config: ModelConfig, options: SourcePassOptions): Promise<Float32Array> {
  const { pool, ids, windowTokens, embedding, head, fit, onLayer, signal } = options;
  const probe = new Probe(config, fit?.rotations ?? NONE, embedding, { ids, windowTokens }, pool);
  for (let layer = 0; layer < config.L; layer++) {
    await breathe(signal);
    const { weights, norms } = await readLayer(source, layer);
    if (!fit) await probe.advance({ linears: weights, norms });
    else {
      const moments = await probe.measure({ linears: weights, norms });
      const { rotations, quantized, terms, seed } = fit;
      await Promise.all(
        LINEARS.map(async (linear) => {
          const norm = normBefore(linear);
          const error = foldLinear(config, linear, weights[linear], norm && norms[norm], rotations);
          for (let i = 0; i < error.length; i++) error[i] -= quantized[layer][linear][i];
          const { a, b, rank } = terms[layer][linear];
          const [rows] = linearShape(config, linear);
          const fitted = await pool.run("fit", { error, moments: moments[inputName(linear)], rows, rank, seed });
          a.set(fitted.a);
          b.set(fitted.b);
        }),
      );
    }
    onLayer?.(layer);
  }
  return headInput(probe.x, head);
}

const NONE: FoldRotations = { residual: null, head: null };
