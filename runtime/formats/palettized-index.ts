/** Checks on what a palettized model directory says about itself, before anything is fetched or computed by it. */
import { OchreError } from "../errors";
import { formatError, isObject, type JsonObject, positiveNumber, text, wholeNumber } from "./json";
import { FORMAT_VERSION, PALETTE_ROWS, type PalettizedConfig, type ShardIndex } from "./palettized";
import type { RotationSpec } from "./rotation";

const INDEX = "model.safetensors.index.json";
/** 2 GiB: the largest file that every browser can hold in one buffer. */
const MAX_SHARD_BYTES = 2 ** 31;
const SHA256 = /^[0-9a-f]{64}$/;
/** One plain file name: no folder, no "..", no scheme, nothing that a URL or a path would read otherwise. */
const SHARD_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$/;

/** One plain folder name. */
const ADAPTER_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

export const isShardName = (name: unknown): name is string => typeof name === "string" && SHARD_NAME.test(name);

/**
 * `model.safetensors.index.json` of a palettized model, parsed and checked. Throws MODEL_FORMAT for a shard name that is
 * not a plain file name, a size that is not 1 byte to 2 GiB, a hash that is not 64 hex digits, or a tensor in a shard that is not listed.
 */
export function parseShardIndex(json: unknown): ShardIndex {
  if (!isObject(json) || !isObject(json.weight_map) || !Array.isArray(json.shards))
    throw formatError(INDEX, "must hold weight_map and shards. Is this a palettized model?");

  const shards: ShardIndex["shards"] = [];
  const names = new Set<string>();
  for (const entry of json.shards) {
    if (!isObject(entry)) throw formatError(INDEX, "each of shards must be an object with name, bytes and sha256.");
    const name = text(INDEX, entry, "name", SHARD_NAME);
    if (names.has(name)) throw formatError(INDEX, `shards must list each file once but lists ${name} twice.`);
    names.add(name);
    shards.push({
      name,
      bytes: wholeNumber(INDEX, entry, "bytes", { max: MAX_SHARD_BYTES }),
      sha256: text(INDEX, entry, "sha256", SHA256),
    });
  }

  const weightMap: [string, string][] = [];
  for (const [tensor, shard] of Object.entries(json.weight_map)) {
    if (typeof shard !== "string" || !names.has(shard))
      throw formatError(INDEX, `weight_map puts "${tensor.slice(0, 100)}" in a file that shards does not list.`, { tensor });
    weightMap.push([tensor, shard]);
  }
  const total = isObject(json.metadata) ? json.metadata : {};
  return {
    metadata: { total_size: wholeNumber(INDEX, total, "total_size", { min: 0, max: Number.MAX_SAFE_INTEGER }) },
    // fromEntries defines own properties, so a tensor called "__proto__" stays a tensor.
    weight_map: Object.fromEntries(weightMap),
    shards,
  };
}

/**
 * `quantization_config` of config.json for a model of residual width D and head size d; undefined where there is none.
 * Throws MODEL_UNSUPPORTED for another quantization or a newer version of ours, MODEL_FORMAT for values that cannot be.
 */
export function parsePalettizedConfig(file: string, json: unknown, D: number, d: number): PalettizedConfig | undefined {
  if (json === undefined || json === null) return undefined;
  if (!isObject(json)) throw formatError(file, "quantization_config must be an object.");
  const where = `${file}: quantization_config`;
  const method = text(where, json, "quant_method");
  if (method !== "palettized") throw unsupported(where, "quant_method", "palettized", method.slice(0, 60));
  const version = wholeNumber(where, json, "version");
  if (version !== FORMAT_VERSION) throw unsupported(where, "version", FORMAT_VERSION, version);
  const rows = wholeNumber(where, json, "palette_rows");
  if (rows !== PALETTE_ROWS) throw unsupported(where, "palette_rows", PALETTE_ROWS, rows);
  if (!isObject(json.rotation)) throw formatError(where, "rotation must be an object with residual and head.");
  return {
    quant_method: "palettized",
    version,
    palette_rows: PALETTE_ROWS,
    average_bits: positiveNumber(where, json, "average_bits"),
    rotation: {
      residual: parseRotation(`${where}.rotation.residual`, json.rotation.residual, D),
      head: parseRotation(`${where}.rotation.head`, json.rotation.head, d),
    },
    recovery: json.recovery === undefined ? undefined : text(where, json, "recovery", ADAPTER_NAME),
    ...parseSensitivities(where, json.sensitivities),
    calibration: text(where, json, "calibration"),
    source: parseModelSource(`${where}.source`, json.source),
  };
}

function parseSensitivities(where: string, json: unknown): Pick<PalettizedConfig, "sensitivities"> {
  if (json === undefined || json === null) return {};
  if (!isObject(json)) throw formatError(where, "sensitivities must be an object with a number for each linear.");
  const entries = Object.entries(json).map(([name, value]): [string, number] => {
    if (typeof value === "number" && value >= 0 && Number.isFinite(value)) return [name, value];
    throw formatError(where, `sensitivities must be 0 or more but that of "${name.slice(0, 100)}" is ${String(value)}.`);
  });
  return { sensitivities: Object.fromEntries(entries) };
}

function parseRotation(where: string, json: unknown, width: number): RotationSpec | null {
  if (json === null) return null;
  if (!isObject(json)) throw formatError(where, "must be null or an object with size, dct, hadamard and seed.");
  const size = wholeNumber(where, json, "size");
  const dct = wholeNumber(where, json, "dct");
  const hadamard = wholeNumber(where, json, "hadamard");
  if (size !== width) throw formatError(where, `size must be ${width}, the width that it rotates, but is ${size}.`);
  if ((hadamard & (hadamard - 1)) !== 0) throw formatError(where, `hadamard must be a power of two but is ${hadamard}.`);
  if (dct * hadamard !== size) throw formatError(where, `dct * hadamard must be ${size} but is ${dct} * ${hadamard}.`);
  return { size, dct, hadamard, seed: wholeNumber(where, json, "seed", { min: 0, max: 2 ** 32 - 1 }) };
}

function parseModelSource(where: string, json: unknown): PalettizedConfig["source"] {
  if (!isObject(json)) throw formatError(where, "must be an object with the name of the source model.");
  const optional = (object: JsonObject, field: string, pattern?: RegExp) =>
    object[field] === undefined || object[field] === null ? {} : { [field]: text(where, object, field, pattern) };
  return { name: text(where, json, "name"), ...optional(json, "revision"), ...optional(json, "sha256", SHA256) };
}

const unsupported = (where: string, field: string, expected: string | number, came: string | number): OchreError =>
  new OchreError(
    "MODEL_UNSUPPORTED",
    `[${where}] ${field} must be ${expected} but is ${came}. Use the unquantized checkpoint, or an Ochre that knows it.`,
    { details: { field, expected, came } },
  );
