/**
 * Low-rank adapters (LoRA: arXiv 2106.09685) as PEFT stores them: `adapter_config.json` beside `adapter_model.safetensors`, whose
 * tensors are `base_model.model.LINEAR.lora_A.weight` [r, cols] and `….lora_B.weight` [rows, r]. What they add to a linear is
 * `scale * B (A x)`.
 */
import { OchreError } from "../errors";
import { checkFinite, linearShape, type ModelSizes } from "./check-tensors";
import type { ByteSource, Checkpoint } from "./checkpoint";
import { f32ArrayToF16 } from "./f16";
import type { JsonObject } from "./json";
import { LINEARS, type LinearName, linearTensor } from "./palettized";
import { type PeftConfig, parsePeftConfig } from "./peft-config";
import { encodeSafetensors, openSafetensors, type TensorToWrite } from "./safetensors";

export interface LowRank {
  /** r */
  rank: number;
  /** [r, cols] */
  a: Float32Array;
  /** [rows, r] */
  b: Float32Array;
}

export interface AdapterWeights {
  name: string;
  /** The largest of its linears'. */
  rank: number;
  /** Of every linear: alpha / r, or alpha / sqrt(r) with rsLoRA. Where `alpha_pattern` says otherwise, the ratio is in `b`. */
  scale: number;
  /** By `linearTensor`, as `model.layers.0.self_attn.q_proj`; a linear that is not there is left as it is. */
  linears: Map<string, LowRank>;
}

/** An adapter's two files. */
export interface PeftFiles {
  /** `adapter_config.json`, parsed. */
  config: JsonObject;
  /** `adapter_model.safetensors`. */
  weights: ByteSource;
}

const PREFIX = "base_model.model.";

/**
 * Reads an adapter for a model of these sizes, in the basis that it was trained in.
 * @throws OchreError ADAPTER_MISMATCH where it was made for another model, MODEL_UNSUPPORTED for what is not plain LoRA on the
 * seven linears of a layer, MODEL_FORMAT for files that are not what they should be.
 */
export async function readPeft(name: string, { config, weights }: PeftFiles, sizes: ModelSizes): Promise<AdapterWeights> {
  const peft = parsePeftConfig(name, config);
  const tensors = await openSafetensors(name, [weights], { config });
  const known = new Set<string>();
  const linears: AdapterWeights["linears"] = new Map();
  let rank = 0;
  for (const [layer, linear] of linearsOf(sizes)) {
    const module = linearTensor(layer, linear);
    const [a, b] = ["A", "B"].map((part) => `${PREFIX}${module}.lora_${part}.weight`);
    const present = [a, b].filter((tensor) => tensors.tensors.has(tensor));
    if (!peft.targets(module, layer)) continue; // a tensor of it is a stray, met below
    if (present.length < 2) {
      throw mismatch(
        name,
        `${module} is among its targets, so "${a}" and "${b}" must be there but ${present.length} of them is.`,
      );
    }
    for (const tensor of present) known.add(tensor);
    const { r, scale } = peft.of(module);
    const [rows, cols] = linearShape(sizes, linear);
    const low: LowRank = { rank: r, a: await readTensor(tensors, a, [r, cols]), b: await readTensor(tensors, b, [rows, r]) };
    const ratio = scale / peft.scale;
    if (ratio !== 1) low.b = low.b.map((value) => value * ratio);
    linears.set(module, low);
    rank = Math.max(rank, r);
  }
  for (const tensor of tensors.tensors.keys()) if (!known.has(tensor)) throw stray(name, tensor, peft);
  if (linears.size === 0) throw mismatch(name, "it must adapt at least one linear of this model but adapts none.");
  return { name, rank, scale: peft.scale, linears };
}

function* linearsOf({ L }: ModelSizes): Generator<[layer: number, linear: LinearName]> {
  for (let layer = 0; layer < L; layer++) for (const linear of LINEARS) yield [layer, linear];
}

async function readTensor(adapter: Checkpoint, name: string, shape: readonly [number, number]): Promise<Float32Array> {
  const found = adapter.tensors.get(name)!;
  if (!["F16", "BF16", "F32"].includes(found.dtype)) {
    throw new OchreError("MODEL_UNSUPPORTED", `[${adapter.name}] "${name}" must be F16, BF16 or F32 but is ${found.dtype}.`);
  }
  if (found.shape.length !== 2 || found.shape.some((n, i) => n !== shape[i])) {
    throw mismatch(adapter.name, `"${name}" must be [${shape.join(", ")}] for this model but is [${found.shape.join(", ")}].`);
  }
  const values = await adapter.read(name);
  checkFinite(`${adapter.name}: ${name}`, values);
  return values;
}

/** A tensor that no target explains: something other than LoRA on a linear, or another model's. */
function stray(adapter: string, tensor: string, { layers }: PeftConfig): OchreError {
  const module = tensor.startsWith(PREFIX) ? tensor.slice(PREFIX.length) : tensor;
  const linear = /^model\.layers\.\d+\.(.+)\.lora_[AB]\.weight$/.exec(module)?.[1];
  if (linear === undefined || !LINEARS.some((name) => name === linear)) {
    return new OchreError(
      "MODEL_UNSUPPORTED",
      `[${adapter}] "${tensor}" is not LoRA on one of ${LINEARS.join(", ")}, which are all that can be adapted.`,
      { details: { tensor } },
    );
  }
  return mismatch(adapter, `"${tensor}" belongs to no target in ${layers} of this model. Was it made for another?`);
}

const mismatch = (adapter: string, what: string): OchreError =>
  new OchreError("ADAPTER_MISMATCH", `[${adapter}] ${what}`, { details: { adapter } });

export interface WritePeftOptions {
  /** For `base_model_name_or_path`. */
  base: string;
}

/**
 * An adapter as PEFT would have saved it, in f16. Ranks may differ from linear to linear.
 * @throws OchreError MODEL_FORMAT where a value does not fit f16.
 */
export function writePeft(
  { rank, scale, linears }: AdapterWeights,
  { base }: WritePeftOptions,
): { config: JsonObject; weights: Uint8Array<ArrayBuffer> } {
  const tensors: TensorToWrite[] = [];
  const ranks: Record<string, number> = {};
  const alphas: Record<string, number> = {};
  for (const [module, { rank: r, a, b }] of linears) {
    if (r !== rank) {
      ranks[module] = r;
      alphas[module] = scale * r;
    }
    const add = (part: string, values: Float32Array, shape: readonly number[]) => {
      const name = `${PREFIX}${module}.lora_${part}.weight`;
      const halves = f32ArrayToF16(values);
      checkFinite(name, halves);
      tensors.push({ name, dtype: "F16", shape, bytes: new Uint8Array(halves.buffer) });
    };
    add("A", a, [r, a.length / r]);
    add("B", b, [b.length / r, r]);
  }
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: scale * rank,
    target_modules: [...linears.keys()],
    rank_pattern: ranks,
    alpha_pattern: alphas,
    ...{ use_rslora: false, use_dora: false, bias: "none", fan_in_fan_out: false, modules_to_save: null, lora_dropout: 0 },
    inference_mode: true,
  };
  return { config, weights: encodeSafetensors(tensors, { format: "pt" }) };
}
