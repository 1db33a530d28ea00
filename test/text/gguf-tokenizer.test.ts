import { describe, expect, it } from "vitest";
import { tokenizerFromGguf } from "../../runtime/text/gguf-tokenizer";
import { Tokenizer } from "../../runtime/text/tokenizer";
import { tokenizerConfig, tokenizerJson } from "./sample";

const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

const metadata = (changes: Record<string, unknown> = {}) => {
  const entries: Record<string, unknown> = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["<|s|>", "<|e|>", "<tool>", "a", "b", "Ġ", "1", "ab", "Ġab", "11", "[PAD10]"],
    "tokenizer.ggml.token_type": [CONTROL, CONTROL, USER_DEFINED, ...Array(7).fill(NORMAL), UNUSED],
    "tokenizer.ggml.merges": ["a b", "Ġ ab", "1 1"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.chat_template": "{{ messages }}",
    ...changes,
  };
  return new Map(Object.entries(entries).filter(([, value]) => value !== undefined));
};
const encode = (text: string, changes?: Record<string, unknown>) => {
  const rebuilt = tokenizerFromGguf(metadata(changes));
  return Tokenizer.create(rebuilt.tokenizer, rebuilt.tokenizerConfig).encode(text);
};

describe("tokenizerFromGguf", () => {
  it("rebuilds the sample model's files from its vocabulary", () => {
    const tokens = Object.keys(tokenizerJson.model.vocab);
    const special = new Set(tokenizerJson.added_tokens.map(({ id }: { id: number }) => id));
    const rebuilt = tokenizerFromGguf(
      new Map<string, unknown>([
        ["tokenizer.ggml.model", "gpt2"],
        ["tokenizer.ggml.pre", "smollm"],
        ["tokenizer.ggml.tokens", tokens.sort((a, b) => tokenizerJson.model.vocab[a] - tokenizerJson.model.vocab[b])],
        ["tokenizer.ggml.token_type", Int32Array.from(tokens, (_, id) => (special.has(id) ? CONTROL : NORMAL))],
        ["tokenizer.ggml.merges", tokenizerJson.model.merges],
        ["tokenizer.ggml.bos_token_id", 1],
        ["tokenizer.ggml.eos_token_id", 2],
        ["tokenizer.ggml.padding_token_id", 2],
        ["tokenizer.ggml.unknown_token_id", 0],
        ["tokenizer.chat_template", tokenizerConfig.chat_template],
      ]),
    );
    expect(rebuilt).toEqual({
      tokenizer: tokenizerJson,
      tokenizerConfig,
      generationConfig: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 2 },
    });
  });

  it("marks control tokens special, takes user-defined ones whole and leaves fillers out", () => {
    const { tokenizer, tokenizerConfig, generationConfig } = tokenizerFromGguf(metadata());
    const rebuilt = Tokenizer.create(tokenizer, tokenizerConfig);
    expect(rebuilt.encode("<|s|>ab<tool> ab<|e|>")).toEqual([0, 7, 2, 8, 1]);
    expect([0, 1, 2, 3].map((id) => rebuilt.isSpecial(id))).toEqual([true, true, false, false]);
    expect(rebuilt.vocabularySize).toBe(10);
    expect(tokenizerConfig).toMatchObject({ bos_token: "<|s|>", eos_token: "<|e|>", chat_template: "{{ messages }}" });
    expect(tokenizerConfig).not.toHaveProperty("pad_token");
    expect(generationConfig).toEqual({ bos_token_id: 0, eos_token_id: 1 });
  });

  it("ends a reply at the end of the turn, too", () => {
    const ends = (eot: number) =>
      tokenizerFromGguf(metadata({ "tokenizer.ggml.eot_token_id": eot })).generationConfig.eos_token_id;
    expect(ends(2)).toEqual([1, 2]);
    expect(ends(1)).toBe(1);
  });

  it.each([
    ["smollm", [6, 6, 6]],
    ["qwen2", [6, 6, 6]],
    ["gpt-2", [9, 6]],
    ["default", [9, 6]],
    ["llama-bpe", [9, 6]],
    [undefined, [9, 6]],
  ])("splits digits by the rule of %s", (pre, ids) => {
    expect(encode("111", { "tokenizer.ggml.pre": pre })).toEqual(ids);
  });

  it("splits longer numbers at three digits by llama-bpe, and whole by gpt-2", () => {
    const vocabulary = {
      "tokenizer.ggml.tokens": ["<|s|>", "<|e|>", "1", "11", "1111"],
      "tokenizer.ggml.token_type": undefined,
      "tokenizer.ggml.merges": ["1 1", "11 11"],
    };
    expect(encode("1111", { ...vocabulary, "tokenizer.ggml.pre": "gpt-2" })).toEqual([4]);
    expect(encode("1111", { ...vocabulary, "tokenizer.ggml.pre": "llama-bpe" })).toEqual([3, 2, 2]);
    expect(encode("1111", { ...vocabulary, "tokenizer.ggml.pre": "default" })).toEqual([3, 2, 2]);
  });

  it("composes characters first by qwen2", () => {
    const vocabulary = {
      "tokenizer.ggml.tokens": ["<|s|>", "<|e|>", "Ã", "©"],
      "tokenizer.ggml.token_type": undefined,
      "tokenizer.ggml.merges": [],
    };
    expect(encode("e\u0301", { ...vocabulary, "tokenizer.ggml.pre": "qwen2" })).toEqual([2, 3]);
    expect(encode("e\u0301", vocabulary)).toEqual([]);
  });

  it("keeps a token named __proto__", () => {
    const rebuilt = tokenizerFromGguf(
      metadata({
        "tokenizer.ggml.tokens": ["__proto__", "a"],
        "tokenizer.ggml.token_type": undefined,
        "tokenizer.ggml.merges": [],
      }),
    );
    expect(Tokenizer.create(rebuilt.tokenizer).tokenId("__proto__")).toBe(0);
  });

  const unsupported: [string, unknown, RegExp][] = [
    ["model", "llama", /tokenizer\.ggml\.model must be gpt2 .* but is "llama"/],
    ["model", undefined, /but is undefined/],
    ["pre", "deepseek-llm", /tokenizer\.ggml\.pre must be one of default, gpt-2, .* but is "deepseek-llm"/],
    ["pre", "toString", /but is "toString"/],
    ["pre", 3, /but is 3/],
  ];
  it.each(unsupported)("%s %j: MODEL_UNSUPPORTED", (key, value, message) => {
    const rebuild = () => tokenizerFromGguf(metadata({ [`tokenizer.ggml.${key}`]: value }));
    expect(rebuild).toThrow(message);
    expect(rebuild).toThrow(expect.objectContaining({ name: "OchreError", code: "MODEL_UNSUPPORTED" }));
  });

  const damaged: [string, unknown, RegExp][] = [
    ["tokens", undefined, /tokens must be a list but is undefined/],
    ["tokens", "abc", /tokens must be a list but is "abc"/],
    ["tokens", ["a", 2], /entry 1 is another/],
    ["tokens", Array(11).fill("a"), /tokens 0 and 1 are both "a"/],
    ["merges", undefined, /merges must be a list/],
    ["token_type", [1, 1], /an entry for each of 11 tokens but has 2/],
    ["bos_token_id", 11, /bos_token_id must be below 11 but is 11/],
    ["eos_token_id", -1, /eos_token_id must be below 11 but is -1/],
    ["eos_token_id", "1", /but is "1"/],
  ];
  it.each(damaged)("%s %j: MODEL_FORMAT", (key, value, message) => {
    const rebuild = () => tokenizerFromGguf(metadata({ [`tokenizer.ggml.${key}`]: value }));
    expect(rebuild).toThrow(message);
    expect(rebuild).toThrow(expect.objectContaining({ name: "OchreError", code: "MODEL_FORMAT" }));
  });
});
