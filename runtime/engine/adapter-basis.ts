/** Adapters in the basis that a model's linears run in: norms folded, residual and heads rotated as its weights are. */
import type { Checkpoint } from "../formats/checkpoint";
import { NORMS, normTensor } from "../formats/palettized";
import type { AdapterWeights } from "../formats/peft";
import { type NormWeights, rotateAdapter } from "../formats/rotate-adapter";
import { makeRotation } from "../formats/rotation";
import type { ModelConfig } from "./config";

/** An adapter that is loaded, and how much of it counts. */
export interface AdapterUse {
  name: string;
  /** Multiplies the adapter's own scale; default 1. */
  weight?: number;
}

/** What a model says of an adapter that it holds. */
export interface AdapterInfo {
  name: string;
  /** The largest of its linears'. */
  rank: number;
  /** On the GPU. */
  bytes: number;
}

/** RMSNorm weights of all layers; a palettized model that was compiled without them has none. */
export async function readNorms({ L }: ModelConfig, checkpoint: Checkpoint): Promise<NormWeights> {
  const norms = new Map<string, Float32Array>();
  for (let layer = 0; layer < L; layer++)
    for (const norm of NORMS) {
      const name = normTensor(layer, norm);
      if (checkpoint.tensors.has(name)) norms.set(name, await checkpoint.read(name));
    }
  return norms;
}

/** @throws OchreError MODEL_FORMAT where the model holds no norm weights. */
export function toModelBasis(adapter: AdapterWeights, config: ModelConfig, norms: NormWeights): AdapterWeights {
  const { residual = null, head = null } = config.quantization?.rotation ?? {};
  return rotateAdapter(adapter, config, norms, {
    residual: residual && makeRotation(residual),
    head: head && makeRotation(head),
  });
}
