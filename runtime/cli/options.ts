/** Numbers from the command line. */
import type { KvFormat } from "../../kernels/kv-cache";
import { parseKvFormat } from "../engine/kv-format";
import { OchreError } from "../errors";

export interface NumberRange {
  min: number;
  max?: number;
  /** Whole numbers only. */
  whole?: boolean;
}

/** @throws OchreError INVALID_ARGUMENT when `text` is no number in the range. */
export function readNumber(
  verb: string,
  option: string,
  text: string,
  { min, max = Number.MAX_SAFE_INTEGER, whole }: NumberRange,
): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  const upTo = max === Number.MAX_SAFE_INTEGER ? "or more" : `to ${max}`;
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[${verb}] --${option} must be a ${whole ? "whole number" : "number"}, ${min} ${upTo}, but is ${JSON.stringify(text)}.`,
  );
}

/** @throws OchreError INVALID_ARGUMENT when the option is missing. */
export function required(verb: string, option: string, text: string | undefined): string {
  if (text !== undefined) return text;
  throw new OchreError("INVALID_ARGUMENT", `[${verb}] needs --${option}.`);
}

/** How keys and values are cached. @throws OchreError INVALID_ARGUMENT for a format that there is not. */
export function readKv(verb: string, text: string): KvFormat {
  const format = parseKvFormat(text);
  if (format) return format;
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[${verb}] --kv must be f16, int8, int4 or bits of keys and values like k8v4, but is ${JSON.stringify(text)}.`,
  );
}
