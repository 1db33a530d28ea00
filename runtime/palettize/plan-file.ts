/**
 * A compilation's decisions as a small JSON file that can be kept, edited and given back: measuring them takes much longer than
 * following them. With the same source, and the same text where it names one, it gives the same model, byte for byte.
 */
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { brief, formatError, isObject, type JsonObject, positiveNumber, text, wholeNumber } from "../formats/json";
import type { Calibration } from "./calibration";
import { MOST_KEPT, type ModelBits, modelLinears } from "./plan";

export const PLAN_VERSION = 1;
/** The head's rotation takes the next one. */
export const MAX_SEED = 2 ** 32 - 2;
export const MAX_PROBE_TOKENS = 2 ** 20;
const SHA256 = /^[0-9a-f]{64}$/;

export interface CompilePlan {
  version: typeof PLAN_VERSION;
  /** Who wrote it, e.g. "ochre 0.1.0". */
  madeBy: string;
  /** Of the checkpoint's weights: the file's own, or for several files that of their list (`sourceHash`). */
  sourceSha256: string;
  seed: number;
  calibration: Calibration;
  /** Columns that each down_proj keeps; none in plans from before there were any. */
  kept: number;
  /** Codes that can be cut; false in plans from before there were any. */
  elastic: boolean;
  /** What was asked for, palettes and scales counted; the average that came out where nothing was. */
  averageBits: number;
  /** That blocks could choose from; only for the reader, as `averageBits` is. */
  widths: number[];
  /** Linear to what a unit of its output error costs, of which the model tells; empty where all are alike. */
  sensitivities: Record<string, number>;
  /** Linear to one digit for each block of 16 rows: 2, 3 or 4. */
  bits: Record<string, string>;
}

/** Digits for a plan. */
export const encodeBits = (bits: ModelBits): CompilePlan["bits"] =>
  Object.fromEntries([...bits].map(([name, widths]) => [name, widths.join("")]));

/**
 * A plan's widths for a model.
 * @throws OchreError INVALID_ARGUMENT where the source is another, MODEL_FORMAT where the linears or their blocks are others.
 */
export function planBits(file: string, plan: CompilePlan, config: ModelConfig, sourceSha256: string): ModelBits {
  if (plan.sourceSha256 !== sourceSha256) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${file}] the plan was made for the source with SHA-256 ${plan.sourceSha256} but this one has ${sourceSha256}: give that one, or make a new plan with --write-plan.`,
      { details: { expected: plan.sourceSha256, came: sourceSha256 } },
    );
  }
  const linears = modelLinears(config);
  const bits = new Map<string, Uint8Array>();
  for (const { name, blocks } of linears) {
    const digits = Object.hasOwn(plan.bits, name) ? plan.bits[name] : "";
    if (digits.length !== blocks)
      throw formatError(file, `bits of ${name} must be ${blocks} digits but are ${digits.length}.`, { linear: name });
    bits.set(name, Uint8Array.from(digits, Number));
  }
  const stranger = Object.keys(plan.bits).find((name) => !bits.has(name));
  if (stranger !== undefined) throw formatError(file, `bits name ${brief(stranger)}, which the model has not.`);
  return bits;
}

/**
 * @param file For messages.
 * @throws OchreError MODEL_UNSUPPORTED for another version, MODEL_FORMAT for values that cannot be.
 */
export function parsePlan(file: string, json: JsonObject): CompilePlan {
  checkVersion(file, json, PLAN_VERSION);
  if (!Array.isArray(json.widths) || json.widths.length === 0 || !json.widths.every((width) => [2, 3, 4].includes(width)))
    throw formatError(file, `widths must list some of 2, 3 and 4 but is ${brief(json.widths)}.`);
  return {
    version: PLAN_VERSION,
    madeBy: text(file, json, "madeBy"),
    sourceSha256: text(file, json, "sourceSha256", SHA256),
    seed: wholeNumber(file, json, "seed", { min: 0, max: MAX_SEED }),
    calibration: parseCalibration(file, json.calibration),
    kept: json.kept === undefined ? 0 : wholeNumber(file, json, "kept", { min: 0, max: MOST_KEPT }),
    elastic: parseElastic(file, json),
    averageBits: positiveNumber(file, json, "averageBits"),
    widths: json.widths,
    sensitivities: parseMap(
      file,
      json,
      "sensitivities",
      (value): value is number => Number.isFinite(value) && Number(value) >= 0,
    ),
    bits: parseMap(file, json, "bits", (value): value is string => typeof value === "string" && /^[234]+$/.test(value)),
  };
}

function parseElastic(file: string, { elastic = false }: JsonObject): boolean {
  if (typeof elastic === "boolean") return elastic;
  throw formatError(file, `elastic must be true or false but is ${brief(elastic)}.`, { field: "elastic" });
}

/** @throws OchreError MODEL_UNSUPPORTED for another version, MODEL_FORMAT where there is none. */
export function checkVersion(file: string, json: JsonObject, expected: number): void {
  const version = wholeNumber(file, json, "version");
  if (version === expected) return;
  throw new OchreError(
    "MODEL_UNSUPPORTED",
    `[${file}] version must be ${expected} but is ${version}. Make the file again, or use an Ochre that knows it.`,
    { details: { expected, came: version } },
  );
}

/** @throws OchreError MODEL_FORMAT where it is none. */
export function parseCalibration(file: string, json: unknown): Calibration {
  const where = `${file}: calibration`;
  if (!isObject(json)) throw formatError(where, `must be an object with kind and tokens but is ${brief(json)}.`);
  const { kind } = json;
  if (kind === "none") return { kind, tokens: 0 };
  if (kind !== "random" && kind !== "text")
    throw formatError(where, `kind must be "none", "random" or "text" but is ${brief(kind)}.`, { field: "kind" });
  const tokens = wholeNumber(where, json, "tokens", { max: MAX_PROBE_TOKENS });
  return kind === "text" ? { kind, tokens, sha256: text(where, json, "sha256", SHA256) } : { kind, tokens };
}

/** An object whose values all pass. fromEntries defines own properties, so a linear called "__proto__" stays a name. */
export function parseMap<T>(
  file: string,
  json: JsonObject,
  field: string,
  is: (value: unknown) => value is T,
): Record<string, T> {
  const map = json[field];
  if (!isObject(map)) throw formatError(file, `${field} must be an object but is ${brief(map)}.`, { field });
  const entries: [string, T][] = [];
  for (const [name, value] of Object.entries(map)) {
    if (!is(value)) throw formatError(file, `${field} of ${brief(name)} cannot be ${brief(value)}.`, { field });
    entries.push([name, value]);
  }
  return Object.fromEntries(entries);
}
