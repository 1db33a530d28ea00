/** PEFT's `adapter_config.json` (LoraConfig): which linears an adapter touches, and with which rank and scale. */
import { OchreError } from "../errors";
import { brief, formatError, isObject, type JsonObject, positiveNumber, wholeNumber } from "./json";

export interface PeftConfig {
  /** alpha / r, or alpha / sqrt(r), of linears that no pattern names. */
  scale: number;
  /** For messages: which layers it says it adapts. */
  layers: string;
  /** Whether a linear, `model.layers.0.self_attn.q_proj`, is adapted. */
  targets(module: string, layer: number): boolean;
  of(module: string): { r: number; scale: number };
}

/** Fields by which LoraConfig asks for something other than `W x + scale * B (A x)`; null, false, "none" and empty ask for nothing. */
const REFUSED = [
  ...["use_dora", "use_qalora", "use_bdlora", "lora_bias", "bias", "fan_in_fan_out", "modules_to_save", "layer_replication"],
  ...["trainable_token_indices", "alora_invocation_tokens", "target_parameters", "megatron_config", "arrow_config"],
  ...["kasa_config", "monteclora_config", "velora_config"],
];

/** Initialisations that also change the base model, which is then not the one that we have. PEFT can save such an adapter as plain LoRA. */
const CHANGES_BASE = /^(pissa|olora|loftq|corda|lora_ga)/;

/** @throws OchreError MODEL_UNSUPPORTED naming the field that cannot be had, MODEL_FORMAT for a value that cannot be. */
export function parsePeftConfig(name: string, config: JsonObject): PeftConfig {
  const file = `${name}: adapter_config.json`;
  if (config.peft_type !== "LORA") throw unsupported(file, "peft_type", "LORA", config.peft_type);
  for (const field of REFUSED) if (!isOff(config[field])) throw unsupported(file, field, "off", config[field]);
  const initialised = config.init_lora_weights;
  if (typeof initialised === "string" && CHANGES_BASE.test(initialised.toLowerCase())) {
    throw unsupported(file, "init_lora_weights", "one that leaves the base model as it is", initialised);
  }
  const r = wholeNumber(file, config, "r");
  const alpha = positiveNumber(file, config, "lora_alpha");
  const ranks = patterns(file, config, "rank_pattern");
  const alphas = patterns(file, config, "alpha_pattern");
  const scaleOf = (alpha: number, r: number) => alpha / (config.use_rslora === true ? Math.sqrt(r) : r);
  const isTarget = nameMatcher(file, config, "target_modules");
  const isExcluded = isOff(config.exclude_modules) ? () => false : nameMatcher(file, config, "exclude_modules");
  const layers = layerSet(file, config);
  return {
    scale: scaleOf(alpha, r),
    layers: layers ? `layers ${[...layers].join(", ")}` : "any layer",
    targets: (module, layer) => isTarget(module) && !isExcluded(module) && (layers?.has(layer) ?? true),
    of(module) {
      const rank = ranks(module) ?? r;
      return { r: rank, scale: scaleOf(alphas(module) ?? alpha, rank) };
    },
  };
}

const isOff = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  value === "none" ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.keys(value).length === 0);

/** A list of last parts of names, or one regular expression for whole names. */
function nameMatcher(file: string, config: JsonObject, field: string): (module: string) => boolean {
  const value = config[field];
  if (value === "all-linear") return () => true;
  if (typeof value === "string") {
    const whole = regularExpression(file, field, `^(?:${value})$`);
    return (module) => whole.test(module);
  }
  if (!Array.isArray(value) || !value.every((part) => typeof part === "string")) {
    throw formatError(file, `${field} must be a list of names or a regular expression but is ${brief(value)}.`, { field });
  }
  return (module) => value.some((part) => module === part || module.endsWith(`.${part}`));
}

/** `rank_pattern`, `alpha_pattern`: the value of the first key that names the module, or the end of its name, as a regular expression. */
function patterns(file: string, config: JsonObject, field: string): (module: string) => number | undefined {
  const value = config[field] ?? {};
  if (!isObject(value)) throw formatError(file, `${field} must be an object but is ${brief(value)}.`, { field });
  const known = Object.keys(value).map((key) => ({
    pattern: regularExpression(file, field, `^(?:.*\\.)?(?:${key})$`),
    // A rank must be whole, an alpha need not.
    number: field === "rank_pattern" ? wholeNumber(file, value, key) : positiveNumber(file, value, key),
  }));
  return (module) => known.find(({ pattern }) => pattern.test(module))?.number;
}

/** Python's and JavaScript's dialects agree on all that is met in practice; what only Python knows is refused. */
function regularExpression(file: string, field: string, pattern: string): RegExp {
  try {
    return new RegExp(pattern);
  } catch (cause) {
    throw new OchreError(
      "MODEL_UNSUPPORTED",
      `[${file}] ${field} holds ${brief(pattern)}, which is no regular expression here.`,
      {
        cause,
      },
    );
  }
}

/** `layers_to_transform`: one layer, several, or undefined for all. */
function layerSet(file: string, config: JsonObject): Set<number> | undefined {
  const value = config.layers_to_transform;
  if (value === undefined || value === null) return undefined;
  const list = Array.isArray(value) ? value : [value];
  return new Set(list.map((layer) => wholeNumber(file, { layers_to_transform: layer }, "layers_to_transform", { min: 0 })));
}

const unsupported = (file: string, field: string, expected: string, came: unknown): OchreError =>
  new OchreError("MODEL_UNSUPPORTED", `[${file}] ${field} must be ${expected} but is ${brief(came)}.`, { details: { field } });
