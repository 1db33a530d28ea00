/**
 * The `decoder` of a tokenizer.json as a map from one token to its bytes. The Rust library decodes a whole list of tokens
 * to one string; token by token is what streaming needs, and for the decoders of language models it comes to the same.
 */
import { OchreError } from "../errors";
import { brief, isObject, type JsonObject } from "../formats/json";

export interface TokenDecoder {
  bytesOf(token: string): Uint8Array;
  readonly dropsFirstSpace: boolean;
}

const utf8 = new TextEncoder();

/** Throws MODEL_UNSUPPORTED for a decoder that is neither byte-level nor SentencePiece-like. */
export function tokenDecoder(decoder: unknown): TokenDecoder {
  const steps: unknown[] = isObject(decoder) && Array.isArray(decoder.decoders) ? decoder.decoders : [decoder];
  if (steps.length === 1 && isObject(steps[0]) && steps[0].type === "ByteLevel")
    return { bytesOf: byteLevelBytes, dropsFirstSpace: false };

  const replacements: [from: string, to: string][] = [];
  let hasByteTokens = false;
  let isFused = false;
  let dropsFirstSpace = false;
  for (const step of steps) {
    const { type, pattern, content, replacement = "▁", prepend_scheme, start, stop }: JsonObject = isObject(step) ? step : {};
    if (type === "ByteFallback") hasByteTokens = true;
    else if (type === "Fuse") isFused = true;
    else if (type === "Replace" && isObject(pattern) && typeof pattern.String === "string" && typeof content === "string")
      replacements.push([pattern.String, content]);
    else if (type === "Strip" && isFused && content === " " && start === 1 && stop === 0) dropsFirstSpace = true;
    else if (type === "Metaspace" && typeof replacement === "string") {
      replacements.push([replacement, " "]);
      dropsFirstSpace = prepend_scheme !== "never";
    } else
      throw new OchreError(
        "MODEL_UNSUPPORTED",
        `[tokenizer.json] the decoder must be byte-level or SentencePiece's but has the step ${brief(type)}.`,
        { details: { decoder: type } },
      );
  }
  return {
    dropsFirstSpace,
    bytesOf(token) {
      const byte = hasByteTokens ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
      if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
      return utf8.encode(replacements.reduce((text, [from, to]) => text.replaceAll(from, to), token));
    },
  };
}

/**
 * GPT-2's byte alphabet: a printable Latin-1 character stands for its own byte, and the 68 other bytes, in order, are
 * U+0100 and up. By code unit: the byte, or -1.
 */
const BYTE_OF_CHARACTER = (() => {
  const table = new Int16Array(0x100 + 68).fill(-1);
  let next = 0x100;
  for (let byte = 0; byte < 0x100; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    table[isPrintable ? byte : next++] = byte;
  }
  return table;
})();

/** The characters of that alphabet. */
export const BYTE_ALPHABET: readonly string[] = Array.from(BYTE_OF_CHARACTER, (_, code) => String.fromCharCode(code)).filter(
  (_, code) => BYTE_OF_CHARACTER[code] >= 0,
);

/** A token outside the byte alphabet stands for its own text. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHARACTER[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
