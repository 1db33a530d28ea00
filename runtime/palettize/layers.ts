/** A checkpoint's linears in order, folded, each with the metric of what it reads: what every pass of the compiler walks along. */
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { checkPlainTensors } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { formatError } from "../formats/json";
import { LINEARS, type LinearName, linearTensor } from "../formats/palettized";
import type { InputMetric } from "./feedback";
import { type FoldRotations, foldLinear, normBefore } from "./fold";
import { type Extras, keptOf } from "./plan";
import { inputName, type Probe } from "./probe";
import type { LinearWeights, NormWeights } from "./token-stream";

export interface FoldedLinear {
  layer: number;
  linear: LinearName;
  /** As `linearTensor` names it. */
  name: string;
  /** [rows, cols], folded; the receiver's own. */
  weight: Float32Array;
  /** Absent without a probe. */
  inputs?: InputMetric;
}

/**
 * Holds one layer at a time. Between linears the event loop gets a turn.
 * @throws OchreError MODEL_FORMAT for a weight that is missing, misshapen or not finite; the signal's reason on abort.
 */
export async function* foldedLinears(
  checkpoint: Checkpoint,
  config: ModelConfig,
  rotations: FoldRotations,
  probe?: Probe,
  signal?: AbortSignal,
  extras: Extras = {},
): AsyncGenerator<FoldedLinear> {
  for (let layer = 0; layer < config.L; layer++) {
    const { weights, norms } = await readLayer(checkpoint, layer);
    await breathe(signal);
    const inputs = await probe?.run({ linears: weights, norms }, { down_proj: keptOf("down_proj", config.F, extras) });
    for (const linear of LINEARS) {
      await breathe(signal);
      const normName = normBefore(linear);
      const weight = foldLinear(config, linear, weights[linear], normName && norms[normName], rotations);
      yield { layer, linear, name: linearTensor(layer, linear), weight, inputs: await inputs?.[inputName(linear)] };
    }
  }
}

/** Reading may never leave the microtask queue; a task lets the abort of a page or a terminal in. */
export async function breathe(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  signal?.throwIfAborted();
}

/** One layer's linears and norms, as the checkpoint has them. */
export async function readLayer(checkpoint: Checkpoint, layer: number): Promise<{ weights: LinearWeights; norms: NormWeights }> {
  const weights = {} as LinearWeights;
  for (const linear of LINEARS) weights[linear] = await readFinite(checkpoint, `${linearTensor(layer, linear)}.weight`);
  const norm = (name: keyof NormWeights) => readFinite(checkpoint, `model.layers.${layer}.${name}.weight`);
  const norms = {
    input_layernorm: await norm("input_layernorm"),
    post_attention_layernorm: await norm("post_attention_layernorm"),
  };
  return { weights, norms };
}

/** @throws OchreError MODEL_FORMAT where a value is not finite. */
export async function readFinite(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const values = await checkpoint.read(name);
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw formatError("palettize", `${name} must be finite but value ${i} is ${values[i]}. The source is damaged.`, {
      tensor: name,
    });
  }
  return values;
}

/** What other tools leave in a checkpoint and nobody needs. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

/**
 * @throws OchreError INVALID_ARGUMENT where the checkpoint is palettized already, MODEL_UNSUPPORTED where it holds a tensor that would be
 *   lost (a bias), MODEL_FORMAT where one is missing or misshapen.
 */
export function checkSource(checkpoint: Checkpoint, config: ModelConfig): void {
  if (config.quantization) {
    throw new OchreError("INVALID_ARGUMENT", `[palettize] ${checkpoint.name} is palettized already: give the plain checkpoint.`);
  }
  checkPlainTensors(config, checkpoint.tensors);
  const read = new Set(["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"]);
  for (let layer = 0; layer < config.L; layer++) {
    for (const linear of LINEARS) {
      read.add(`${linearTensor(layer, linear)}.weight`);
      if (normBefore(linear)) read.add(`model.layers.${layer}.${normBefore(linear)}.weight`);
    }
  }
  for (const name of checkpoint.tensors.keys()) {
    if (read.has(name) || IGNORED.test(name)) continue;
    throw new OchreError("MODEL_UNSUPPORTED", `[palettize] a llama checkpoint must hold no other tensors but holds ${name}.`, {
      details: { tensor: name },
    });
  }
}
