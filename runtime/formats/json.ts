/** Checked access to JSON that someone else wrote. Every error is MODEL_FORMAT and names the file, the field and what came. */
import { OchreError } from "../errors";

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const formatError = (file: string, what: string, details: Record<string, unknown> = {}, cause?: unknown): OchreError =>
  new OchreError("MODEL_FORMAT", `[${file}] ${what}`, { details, cause });

/** A stranger's value for a message: never a megabyte of it. */
export function brief(value: unknown): string {
  if (typeof value === "string") return `"${value.slice(0, 60)}"`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

export function parseJsonObject(file: string, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw formatError(file, "must be JSON but cannot be parsed. Is it whole?", {}, cause);
  }
  if (!isObject(value)) throw formatError(file, `must hold a JSON object but holds ${brief(value)}.`);
  return value;
}

/** A whole number from `min` to `max`; `fallback` where the field is absent or null. */
export function wholeNumber(
  file: string,
  object: JsonObject,
  field: string,
  { min = 1, max = 2 ** 24, fallback }: { min?: number; max?: number; fallback?: number } = {},
): number {
  const value = object[field] ?? fallback;
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw formatError(file, `${field} must be a whole number from ${min} to ${max} but is ${brief(value)}.`, { field });
}

/** A finite number above zero; `fallback` where the field is absent or null. */
export function positiveNumber(file: string, object: JsonObject, field: string, fallback?: number): number {
  const value = object[field] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw formatError(file, `${field} must be a number above 0 but is ${brief(value)}.`, { field });
}

/** A string; with `pattern`, one that matches it. */
export function text(file: string, object: JsonObject, field: string, pattern?: RegExp): string {
  const value = object[field];
  if (typeof value === "string" && (pattern === undefined || pattern.test(value))) return value;
  throw formatError(file, `${field} must be ${pattern ? `a string like ${pattern}` : "a string"} but is ${brief(value)}.`, {
    field,
  });
}
