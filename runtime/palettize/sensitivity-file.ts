/** Measured sensitivities as JSON: written after every linear, so that a measurement of hours can stop and go on. */
import { OchreError } from "../errors";
import { formatError, isObject, type JsonObject, text, wholeNumber } from "../formats/json";
import type { Calibration } from "./calibration";
import { checkVersion, MAX_SEED, parseCalibration, parseMap } from "./plan-file";
import { sensitivityOf } from "./sensitivity";
import type { LinearSensitivity } from "./sensitivity-task";

export const SENSITIVITY_VERSION = 1;

export interface SensitivityFile {
  version: typeof SENSITIVITY_VERSION;
  /** Who wrote it, e.g. "ochre 0.1.0". */
  madeBy: string;
  /** As in a plan. */
  sourceSha256: string;
  seed: number;
  calibration: Calibration;
  /** The width at which linears were quantized. */
  bits: number;
  /** Those that are measured. */
  linears: Record<string, LinearSensitivity>;
}

/** @throws OchreError MODEL_UNSUPPORTED for another version, MODEL_FORMAT for values that cannot be. */
export function parseSensitivityFile(file: string, json: JsonObject): SensitivityFile {
  checkVersion(file, json, SENSITIVITY_VERSION);
  return {
    version: SENSITIVITY_VERSION,
    madeBy: text(file, json, "madeBy"),
    sourceSha256: text(file, json, "sourceSha256", /^[0-9a-f]{64}$/),
    seed: wholeNumber(file, json, "seed", { min: 0, max: MAX_SEED }),
    calibration: parseCalibration(file, json.calibration),
    bits: wholeNumber(file, json, "bits", { min: 2, max: 4 }),
    linears: parseMap(file, json, "linears", isMeasured),
  };
}

const isMeasured = (value: unknown): value is LinearSensitivity =>
  isObject(value) && [value.kl, value.error].every((number) => Number.isFinite(number) && Number(number) >= 0);

/**
 * The map that an allocation takes.
 * @throws OchreError INVALID_ARGUMENT where the source is another, MODEL_FORMAT where one of `names` is not measured yet.
 */
export function sensitivityMap(
  file: string,
  { sourceSha256, linears }: SensitivityFile,
  expectedSha256: string,
  names: readonly string[],
): Record<string, number> {
  if (sourceSha256 !== expectedSha256) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[${file}] was measured on the source with SHA-256 ${sourceSha256} but this one has ${expectedSha256}: measure it with ochre sensitivity.`,
    );
  }
  const missing = names.find((name) => !Object.hasOwn(linears, name));
  if (missing !== undefined)
    throw formatError(file, `must hold every linear but ${missing} is not measured: go on with ochre sensitivity.`);
  return Object.fromEntries(names.map((name) => [name, sensitivityOf(linears[name])]));
}
