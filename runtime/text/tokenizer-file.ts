/** tokenizer.json, checked, and put so that @huggingface/tokenizers splits text exactly as the Rust library does. */
import { OchreError } from "../errors";
import { brief, isObject, type JsonObject } from "../formats/json";
import { BYTE_ALPHABET, type TokenDecoder, tokenDecoder } from "./token-decoder";

/** Far above any vocabulary; an id beyond it is damage or an attack on memory. */
const MAX_TOKENS = 2 ** 24;

/** GPT-2's split into words. */
export const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

export interface TokenizerFile {
  /** What the library gets. No decoder (ours streams) and no post-processor (it would add tokens). */
  json: JsonObject;
  /** By content. */
  vocabulary: ReadonlyMap<string, number>;
  /** Recognised in text as they stand, before any splitting. */
  addedTokens: readonly AddedToken[];
  decoder: TokenDecoder;
}

export const mismatch = (what: string, details: Record<string, unknown> = {}, cause?: unknown): OchreError =>
  new OchreError("TOKENIZER_MISMATCH", `[tokenizer.json] ${what}`, { details, cause });

const unsupported = (what: string, value: unknown): OchreError =>
  new OchreError("MODEL_UNSUPPORTED", `[tokenizer.json] ${what} but is ${brief(value)}.`, { details: { value } });

/** Throws TOKENIZER_MISMATCH for damage and MODEL_UNSUPPORTED for what could only be split wrongly. */
export function readTokenizerFile(tokenizerJson: unknown, tokenizerConfig: unknown): TokenizerFile {
  if (!isObject(tokenizerJson)) throw mismatch(`must hold a JSON object but holds ${brief(tokenizerJson)}.`);
  if (!isObject(tokenizerConfig))
    throw mismatch(`its tokenizer_config.json must hold a JSON object but holds ${brief(tokenizerConfig)}.`);
  const { model } = tokenizerJson;
  if (!isObject(model)) throw mismatch(`model must be an object but is ${brief(model)}.`);
  // Old files of Hugging Face leave the type out.
  if ((model.type ?? "BPE") !== "BPE") throw unsupported("model.type must be BPE", model.type);

  const contents = new Map<number, string>();
  const vocabulary = new Map<string, number>();
  const add = (content: string, id: unknown, where: string): number => {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= MAX_TOKENS)
      throw mismatch(`${where} must give ids from 0 to ${MAX_TOKENS - 1} but ${brief(content)} has ${brief(id)}.`);
    const other = contents.get(id as number);
    if (other !== undefined && other !== content)
      throw mismatch(`${where} must give each id once but ${id} is both ${brief(other)} and ${brief(content)}.`, { id });
    contents.set(id as number, content);
    vocabulary.set(content, id as number);
    return id as number;
  };
  if (!isObject(model.vocab)) throw mismatch(`model.vocab must be an object but is ${brief(model.vocab)}.`);
  for (const content of Object.keys(model.vocab)) add(content, model.vocab[content], "model.vocab");
  checkMerges(model.merges);

  const addedTokens: AddedToken[] = [];
  const listed = tokenizerJson.added_tokens ?? [];
  if (!Array.isArray(listed)) throw mismatch(`added_tokens must be a list but is ${brief(listed)}.`);
  for (const token of listed) {
    const content: unknown = isObject(token) ? token.content : undefined;
    if (typeof content !== "string" || content === "") throw mismatch("added_tokens must each have their content, a string.");
    const known = vocabulary.get(content);
    if (known !== undefined && known !== token.id)
      throw mismatch(`added_tokens must agree with model.vocab but ${brief(content)} is ${known} there and ${token.id} here.`);
    addedTokens.push({ ...token, content, id: add(content, token.id, "added_tokens"), special: token.special === true });
  }
  // As transformers does: a special token that only tokenizer_config.json calls so is recognised in text all the same.
  for (const content of specialTokensOf(tokenizerConfig)) {
    const id = vocabulary.get(content);
    if (id !== undefined && !addedTokens.some((token) => token.content === content))
      addedTokens.push({ id, content, special: true });
  }
  if (typeof model.unk_token === "string" && !vocabulary.has(model.unk_token))
    throw mismatch(`model.unk_token must be in the vocabulary but ${brief(model.unk_token)} is not.`);

  const json = {
    ...tokenizerJson,
    model: { ...model, type: "BPE" },
    added_tokens: addedTokens,
    normalizer: tokenizerJson.normalizer ?? null,
    pre_tokenizer: exactSplit(tokenizerJson.pre_tokenizer, lostBytes(model, vocabulary)),
    post_processor: null,
    decoder: null,
  };
  return { json, vocabulary, addedTokens, decoder: tokenDecoder(tokenizerJson.decoder) };
}

/** "a b" in old files, ["a", "b"] in new ones. */
function checkMerges(merges: unknown): void {
  if (!Array.isArray(merges)) throw mismatch(`model.merges must be a list but is ${brief(merges)}.`);
  const arePairs = Array.isArray(merges[0]);
  merges.forEach((merge: unknown, rank) => {
    const parts = arePairs ? merge : typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(parts) || parts.length !== 2 || parts.some((part) => typeof part !== "string" || part === ""))
      throw mismatch(`model.merges must be pairs of tokens but entry ${rank} is ${brief(merge)}.`, { rank });
  });
}

function specialTokensOf(tokenizerConfig: JsonObject): string[] {
  const { bos_token, eos_token, unk_token, pad_token, additional_special_tokens: more } = tokenizerConfig;
  return [bos_token, eos_token, unk_token, pad_token, ...(Array.isArray(more) ? more : [])]
    .map((token) => (isObject(token) ? token.content : token))
    .filter((token) => typeof token === "string" && token !== "") as string[];
}

/** Characters for bytes that the vocabulary lacks, where encoding drops them: a regular expression, or "" for none. */
function lostBytes(model: JsonObject, vocabulary: ReadonlyMap<string, number>): string {
  if (typeof model.unk_token === "string" || model.byte_fallback === true) return "";
  const lost = BYTE_ALPHABET.filter((character) => !vocabulary.has(character));
  return lost.map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`).join("|");
}

const isolate = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });
const drop = (regex: string) => ({ type: "Replace", pattern: { Regex: regex }, content: "" });

/**
 * Three things the library does otherwise than Rust, said so that it does the same. Its Digits knows only ASCII where Rust
 * takes all of \p{N}, and its byte-level words use JavaScript's \s (with U+FEFF, without U+0085): its Split translates
 * regular expressions rightly. It drops bytes that the vocabulary lacks after merging, so that their neighbours never meet.
 * Kinds of splitting that we have not compared are refused: wrong tokens would go unnoticed.
 */
function exactSplit(preTokenizer: unknown, lost: string): JsonObject | null {
  if (preTokenizer === undefined || preTokenizer === null) return null;
  if (!isObject(preTokenizer)) throw mismatch(`pre_tokenizer must be an object but is ${brief(preTokenizer)}.`);
  const { type, pretokenizers, individual_digits, use_regex, add_prefix_space, behavior, invert } = preTokenizer;
  switch (type) {
    case "Sequence":
      if (!Array.isArray(pretokenizers)) throw mismatch("a pre_tokenizer Sequence must list its pretokenizers.");
      return { type, pretokenizers: pretokenizers.map((step) => exactSplit(step, lost)) };
    case "Digits":
      return isolate(individual_digits === true ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel": {
      const words = use_regex === false ? [] : [isolate(GPT2_WORDS)];
      if (words.length > 0 && add_prefix_space === true)
        throw unsupported("pre_tokenizer.add_prefix_space must be false", add_prefix_space);
      const bytes = { ...preTokenizer, use_regex: false };
      return { type: "Sequence", pretokenizers: [...words, bytes, ...(lost === "" ? [] : [drop(lost)])] };
    }
    case "Split":
      if (behavior === "Isolated" ? invert === true : behavior !== "Removed" || invert !== true)
        throw unsupported(`a Split with invert ${invert === true} must be ${invert ? "Removed" : "Isolated"}`, behavior);
      return preTokenizer;
    case "Metaspace":
      return preTokenizer;
    default:
      throw unsupported("pre_tokenizer.type must be Sequence, Digits, ByteLevel, Split or Metaspace", type);
  }
}
