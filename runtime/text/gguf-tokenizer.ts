/**
 * A GGUF file's vocabulary as the Hugging Face files that it was converted from. GGUF keeps tokens, merges and types but
 * only the name of the splitting rule; the rules by name are those of llama.cpp (src/llama-vocab.cpp).
 */
import { OchreError } from "../errors";
import { brief, formatError, type JsonObject } from "../formats/json";
import { GPT2_WORDS } from "./tokenizer-file";

type Metadata = ReadonlyMap<string, unknown>;

/** tokenizer.ggml.token_type. */
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

interface SplitRule {
  /** Regular expressions, each splitting what the one before left. */
  splits: readonly string[];
  normalizer?: "NFC";
  /** Words that are in the vocabulary are taken whole, without merging. */
  ignoreMerges?: boolean;
}

/** Words with the character before them, digits in runs of up to `digits`, punctuation with the line break after it. */
const llama3Words = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const SPLIT_RULES: Readonly<Record<string, SplitRule>> = {
  default: { splits: ["[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_WORDS, "\\p{N}+", "[0-9][0-9][0-9]"] },
  "gpt-2": { splits: [GPT2_WORDS] },
  smollm: { splits: ["\\p{N}", GPT2_WORDS] },
  "llama-bpe": { splits: [llama3Words("{1,3}")], ignoreMerges: true },
  qwen2: { splits: [llama3Words("")], normalizer: "NFC" },
};

/** tokenizer.json, tokenizer_config.json and generation_config.json, parsed. */
export interface RebuiltTokenizer {
  tokenizer: JsonObject;
  tokenizerConfig: JsonObject;
  generationConfig: JsonObject;
}

/**
 * Throws MODEL_UNSUPPORTED for a vocabulary that is not byte-level BPE or whose splitting rule we do not know, naming it,
 * and MODEL_FORMAT where lists are missing or do not fit each other.
 */
export function tokenizerFromGguf(metadata: Metadata): RebuiltTokenizer {
  const model = metadata.get("tokenizer.ggml.model");
  if (model !== "gpt2") throw unsupported("tokenizer.ggml.model must be gpt2 (byte-level BPE)", model);
  // llama.cpp takes the default rule, too, for files from before rules had names.
  const pre = metadata.get("tokenizer.ggml.pre") ?? "default";
  if (typeof pre !== "string" || !Object.hasOwn(SPLIT_RULES, pre))
    throw unsupported(`tokenizer.ggml.pre must be one of ${Object.keys(SPLIT_RULES).join(", ")}`, pre);
  const rule = SPLIT_RULES[pre];

  const tokens = list(metadata, "tokens", isString);
  const merges = list(metadata, "merges", isString);
  const types = metadata.has("tokenizer.ggml.token_type") ? list(metadata, "token_type", isNumber) : [];
  if (types.length > 0 && types.length !== tokens.length)
    throw damaged(`token_type must have an entry for each of ${tokens.length} tokens but has ${types.length}.`);

  const vocabulary = new Map<string, number>();
  const addedTokens: JsonObject[] = [];
  tokens.forEach((content, id) => {
    // Fillers up to the size of the embedding table: no file of Hugging Face lists them.
    if (types[id] === UNUSED) return;
    if (vocabulary.has(content)) throw damaged(`tokens ${vocabulary.get(content)} and ${id} are both ${brief(content)}.`);
    vocabulary.set(content, id);
    if (types[id] !== CONTROL && types[id] !== USER_DEFINED) return;
    const special = types[id] === CONTROL;
    addedTokens.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special });
  });

  const bos = tokenId(metadata, "bos", tokens);
  const eos = tokenId(metadata, "eos", tokens);
  const endOfTurn = tokenId(metadata, "eot", tokens);
  const padding = tokenId(metadata, "padding", tokens);
  const unknown = tokenId(metadata, "unknown", tokens);
  const ends = [...new Set([eos, endOfTurn])].filter((id) => id !== undefined);
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      normalizer: rule.normalizer ? { type: rule.normalizer } : null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          ...rule.splits.map((Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false })),
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: rule.ignoreMerges ?? false,
        vocab: Object.fromEntries(vocabulary),
        merges,
      },
    },
    tokenizerConfig: defined({
      tokenizer_class: "PreTrainedTokenizerFast",
      add_prefix_space: false,
      clean_up_tokenization_spaces: false,
      bos_token: bos === undefined ? undefined : tokens[bos],
      eos_token: eos === undefined ? undefined : tokens[eos],
      pad_token: padding === undefined ? undefined : tokens[padding],
      unk_token: unknown === undefined ? undefined : tokens[unknown],
      chat_template: metadata.get("tokenizer.chat_template"),
    }),
    generationConfig: defined({
      bos_token_id: bos,
      eos_token_id: ends.length > 1 ? ends : ends[0],
      pad_token_id: padding,
    }),
  };
}

const unsupported = (what: string, value: unknown): OchreError =>
  new OchreError("MODEL_UNSUPPORTED", `[GGUF tokenizer] ${what} but is ${brief(value)}.`, { details: { value } });

const damaged = (what: string): OchreError => formatError("GGUF tokenizer", what);

const isString = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => typeof value === "number";

/** A list, plain or typed, under `tokenizer.ggml.`, each of whose entries passes. */
function list<T>(metadata: Metadata, key: string, isEntry: (value: unknown) => value is T): T[] {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  const entries: unknown[] | undefined = Array.isArray(value)
    ? value
    : ArrayBuffer.isView(value) && !(value instanceof DataView)
      ? Array.from(value as Int32Array)
      : undefined;
  if (!entries) throw damaged(`${key} must be a list but is ${brief(value)}.`);
  if (!entries.every(isEntry))
    throw damaged(`${key} must hold one kind of value but entry ${entries.findIndex((entry) => !isEntry(entry))} is another.`);
  return entries;
}

function tokenId(metadata: Metadata, name: string, tokens: readonly string[]): number | undefined {
  const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
  if (id === undefined) return undefined;
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < tokens.length) return id;
  throw damaged(`${name}_token_id must be below ${tokens.length} but is ${brief(id)}.`);
}

const defined = (object: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
