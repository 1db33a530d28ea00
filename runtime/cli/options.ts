/** Numbers from the command line. */
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
