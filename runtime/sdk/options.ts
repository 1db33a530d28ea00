/** Checks of what page authors pass: a wrong type is a TypeError, an impossible value INVALID_ARGUMENT. */
import { OchreError } from "../errors";
import type { KvType, LoadAdapterOptions, LoadOptions, Message, PromptOptions, Role } from "./types";

type NumberOption =
  | ("temperature" | "topK" | "topP" | "minP" | "seed" | "maxTokens" | "contextTokens")
  | ("context" | "tokens" | "averageBits" | "promptTokens" | "generateTokens" | "depth" | "repetitions" | "warmup");

const atLeastZero = { must: "a whole number of at least 0", holds: (n: number) => Number.isSafeInteger(n) && n >= 0 };
const atLeastOne = { must: "a whole number of at least 1", holds: (n: number) => Number.isSafeInteger(n) && n >= 1 };

const RULES: Record<NumberOption, { must: string; holds: (n: number) => boolean }> = {
  temperature: { must: "a finite number of at least 0", holds: (n) => n >= 0 && n < Infinity },
  topK: atLeastOne,
  topP: { must: "above 0 and at most 1", holds: (n) => n > 0 && n <= 1 },
  minP: { must: "from 0 to 1", holds: (n) => n >= 0 && n <= 1 },
  seed: { must: "a whole number from 0 to 4294967295", holds: (n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32 },
  maxTokens: atLeastOne,
  contextTokens: atLeastOne,
  averageBits: { must: "above 0 and at most 16", holds: (n) => n > 0 && n <= 16 },
  context: { must: "a whole number of at least 2", holds: (n) => Number.isSafeInteger(n) && n >= 2 },
  tokens: atLeastOne,
  promptTokens: atLeastOne,
  generateTokens: atLeastOne,
  depth: atLeastZero,
  repetitions: atLeastOne,
  warmup: atLeastZero,
};

/** Throws where an option is set to something else than its rule allows. */
export function checkOptions(
  who: string,
  options: { [name in NumberOption]?: unknown } & { signal?: unknown; speculate?: unknown },
): void {
  for (const [name, { must, holds }] of Object.entries(RULES)) {
    const value = options[name as NumberOption];
    if (value === undefined) continue;
    if (typeof value !== "number") throw new TypeError(`[${who}] ${name} must be a number but is of type ${typeof value}.`);
    if (!holds(value)) {
      throw new OchreError("INVALID_ARGUMENT", `[${who}] ${name} must be ${must} but is ${value}.`, { details: { name, value } });
    }
  }
  if (options.speculate !== undefined && typeof options.speculate !== "boolean") {
    throw new TypeError(`[${who}] speculate must be a boolean but is of type ${typeof options.speculate}.`);
  }
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw new TypeError(`[${who}] signal must be an AbortSignal.`);
  }
}

const KV_TYPES: readonly KvType[] = ["f16", "int8", "int4"];

/** Throws where `kv` names no way to keep keys and values. */
export function checkKv(who: string, kv: LoadOptions["kv"]): void {
  if (kv === undefined) return;
  if (typeof kv !== "string" && (typeof kv !== "object" || kv === null)) {
    throw new TypeError(`[${who}] kv must be a string or { k, v } but is ${String(kv)}.`);
  }
  for (const type of typeof kv === "string" ? [kv] : [kv.k, kv.v]) {
    if (KV_TYPES.includes(type)) continue;
    throw new OchreError("INVALID_ARGUMENT", `[${who}] kv must be "f16", "int8" or "int4" but is ${JSON.stringify(type)}.`, {
      details: { name: "kv", value: type },
    });
  }
}

/** Throws where `bits` is no choice of bits by name; whether they fit the model, the worker says. */
export function checkBits(who: string, bits: unknown): void {
  if (typeof bits !== "object" || bits === null) throw new TypeError(`[${who}] bits must be an object such as { "*": 3 }.`);
  for (const [name, width] of Object.entries(bits)) {
    if (typeof width !== "number")
      throw new TypeError(`[${who}] bits of "${name}" must be a number but are of type ${typeof width}.`);
  }
}

export function checkAdapterName(who: string, name: unknown): void {
  if (name !== null && typeof name !== "string") throw new TypeError(`[${who}] an adapter's name must be a string or null.`);
}

export function checkAdapter(who: string, { name, weight, signal }: LoadAdapterOptions): void {
  if (name !== undefined) checkAdapterName(who, name);
  checkOptions(who, { signal });
  if (weight !== undefined && typeof weight !== "number")
    throw new TypeError(`[${who}] weight must be a number but is of type ${typeof weight}.`);
  if (weight !== undefined && !Number.isFinite(weight))
    throw new OchreError("INVALID_ARGUMENT", `[${who}] weight must be finite but is ${weight}.`, { details: { name: "weight" } });
}

/** Throws where `palettize` asks for what cannot be; what a text or a width cannot do for a model, the compiler says. */
export function checkPalettize(who: string, choices: LoadOptions["palettize"]): void {
  if (choices === undefined) return;
  if (typeof choices !== "object" || choices === null) throw new TypeError(`[${who}] palettize must be an object.`);
  const { averageBits, text } = choices;
  if (averageBits !== undefined && typeof averageBits !== "number")
    throw new TypeError(`[${who}] palettize.averageBits must be a number but is of type ${typeof averageBits}.`);
  if (averageBits !== undefined && !(averageBits >= 2 && averageBits <= 16)) {
    const message = `[${who}] palettize.averageBits must be from 2 to 16 but is ${averageBits}.`;
    throw new OchreError("INVALID_ARGUMENT", message, { details: { name: "palettize.averageBits", value: averageBits } });
  }
  if (text !== undefined && typeof text !== "string") throw new TypeError(`[${who}] palettize.text must be a string.`);
}

/** The sampling fields alone: what may cross to the worker. */
export function sampling({ temperature, topK, topP, minP, seed }: PromptOptions) {
  return { temperature, topK, topP, minP, seed };
}

const ROLES: readonly Role[] = ["system", "user", "assistant"];

/** A string is one message of the user; a list is checked and copied, so that later changes by the page do no harm. */
export function toMessages(who: string, input: string | readonly Message[]): Message[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) throw new TypeError(`[${who}] the input must be a string or an array of messages.`);
  if (input.length === 0)
    throw new OchreError("INVALID_ARGUMENT", `[${who}] the input must hold at least one message but is empty.`);
  return input.map((message: Message, i) => {
    if (!ROLES.includes(message?.role)) {
      throw new TypeError(`[${who}] message ${i} must have role system, user or assistant but has ${String(message?.role)}.`);
    }
    if (typeof message.content !== "string") throw new TypeError(`[${who}] message ${i} must have a string as its content.`);
    return { role: message.role, content: message.content };
  });
}
