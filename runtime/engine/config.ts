/**
 * Shape letters, used everywhere in the engine:
 *   T tokens in a step    D residual width    H query heads    G kv heads    d head size
 *   F MLP width           V vocabulary        L layers
 */
import { OchreError } from "../errors";
import type { CheckpointFiles } from "../formats/checkpoint";
import { brief, formatError, isObject, type JsonObject, positiveNumber, wholeNumber } from "../formats/json";
import type { PalettizedConfig } from "../formats/palettized";
import { parsePalettizedConfig } from "../formats/palettized-index";

export interface RopeConfig {
  theta: number;
  /** Llama 3.1's frequency scaling; absent for plain RoPE. */
  llama3?: { factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number };
}

export interface ModelConfig {
  /** `model_type` of the checkpoint. */
  family: "llama";
  L: number;
  D: number;
  H: number;
  G: number;
  d: number;
  F: number;
  V: number;
  /** Positions that the checkpoint was trained for. */
  contextTokens: number;
  normEps: number;
  rope: RopeConfig;
  /** The head shares the embedding table. */
  tiedHead: boolean;
  bosId?: number;
  /** Ids that end a reply. */
  eosIds: number[];
  quantization?: PalettizedConfig;
}

const FILE = "config.json";

/**
 * `config.json` in the spellings of transformers 4 and 5, checked. A field that transformers leaves out has the
 * default of its LlamaConfig. Throws MODEL_UNSUPPORTED for a model that this version cannot compute, MODEL_FORMAT for
 * sizes that cannot be.
 */
export function parseConfig({ config, generationConfig }: CheckpointFiles): ModelConfig {
  const family = config.model_type;
  if (family !== "llama") throw unsupported("model_type", "llama", family);
  const D = wholeNumber(FILE, config, "hidden_size");
  const H = wholeNumber(FILE, config, "num_attention_heads");
  const G = wholeNumber(FILE, config, "num_key_value_heads", { fallback: H });
  if (H % G !== 0)
    throw formatError(FILE, `num_attention_heads must be a multiple of num_key_value_heads but they are ${H} and ${G}.`);
  const d = wholeNumber(FILE, config, "head_dim", { fallback: D / H });
  if (d % 4 !== 0) throw unsupported("head_dim", "a multiple of 4", d);

  const activation = config.hidden_act ?? "silu";
  if (activation !== "silu" && activation !== "swish") throw unsupported("hidden_act", "silu", activation);
  for (const field of ["attention_bias", "mlp_bias", "rope_interleaved"])
    if (config[field] ?? false) throw unsupported(field, false, config[field]);

  const V = wholeNumber(FILE, config, "vocab_size");
  const bos = config.bos_token_id ?? undefined;
  return {
    family,
    L: wholeNumber(FILE, config, "num_hidden_layers"),
    D,
    H,
    G,
    d,
    F: wholeNumber(FILE, config, "intermediate_size"),
    V,
    contextTokens: wholeNumber(FILE, config, "max_position_embeddings", { fallback: 2048 }),
    normEps: positiveNumber(FILE, config, "rms_norm_eps", 1e-6),
    rope: parseRope(config),
    tiedHead: parseFlag(config, "tie_word_embeddings"),
    bosId: bos === undefined ? undefined : wholeNumber(FILE, config, "bos_token_id", { min: 0, max: V - 1 }),
    eosIds: parseEos(generationConfig?.eos_token_id ?? config.eos_token_id, V),
    quantization: parsePalettizedConfig(FILE, config.quantization_config, D, d),
  };
}

/** transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one object `rope_parameters`. */
function parseRope(config: JsonObject): RopeConfig {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  if (!isObject(rope)) throw formatError(FILE, `rope_parameters and rope_scaling must be objects but one is ${brief(rope)}.`);
  const theta = positiveNumber(FILE, rope.rope_theta === undefined ? config : rope, "rope_theta", 10000);
  const partial = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1) throw unsupported("partial_rotary_factor", 1, partial);
  const type = rope.rope_type ?? rope.type ?? "default";
  if (type === "default") return { theta };
  if (type !== "llama3") throw unsupported("rope_type", "default or llama3", type);
  const llama3 = {
    factor: positiveNumber(FILE, rope, "factor"),
    lowFreqFactor: positiveNumber(FILE, rope, "low_freq_factor"),
    highFreqFactor: positiveNumber(FILE, rope, "high_freq_factor"),
    originalContext: wholeNumber(FILE, rope, "original_max_position_embeddings"),
  };
  if (llama3.highFreqFactor <= llama3.lowFreqFactor)
    throw formatError(
      FILE,
      `high_freq_factor must be above low_freq_factor but they are ${llama3.highFreqFactor} and ${llama3.lowFreqFactor}.`,
    );
  return { theta, llama3 };
}

function parseFlag(config: JsonObject, field: string): boolean {
  const value = config[field] ?? false;
  if (typeof value !== "boolean") throw formatError(FILE, `${field} must be true or false but is ${brief(value)}.`);
  return value;
}

function parseEos(value: unknown, V: number): number[] {
  const ids = value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
  return ids.map((id) => wholeNumber(FILE, { eos_token_id: id }, "eos_token_id", { min: 0, max: V - 1 }));
}

const unsupported = (field: string, expected: string | number | boolean, came: unknown): OchreError =>
  new OchreError("MODEL_UNSUPPORTED", `[${FILE}] ${field} must be ${expected} but is ${brief(came)}.`, {
    details: { field, expected },
  });
