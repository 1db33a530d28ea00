import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Tokenizer } from "../../runtime/text/tokenizer";
import { tokenizer, tokenizerCases, tokenizerConfig, tokenizerJson } from "./sample";

/** "h", "e", "l", "o", " " and what merges make of them, with a special token. */
const small = () => ({
  model: {
    type: "BPE",
    vocab: { h: 0, e: 1, l: 2, o: 3, Ġ: 4, he: 5, ll: 6, hell: 7, hello: 8, Ġhello: 9 } as Record<string, unknown>,
    merges: ["h e", "l l", "he ll", "hell o", "Ġ hello"] as unknown,
    unk_token: null as unknown,
  } as Record<string, unknown>,
  added_tokens: [{ id: 10, content: "<|end|>", special: true }] as unknown,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true } as unknown,
  decoder: { type: "ByteLevel" } as unknown,
});

describe("the sample model's tokenizer", () => {
  it("has all golden cases", () => {
    expect(tokenizerCases.cases).toHaveLength(87);
    expect(tokenizerCases.lossy).toHaveLength(3);
  });

  it.each(tokenizerCases.cases)("encodes and decodes $text like transformers", ({ text, ids, decoded, decoded_skip_special }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.toText(ids, { skipSpecial: false })).toBe(decoded);
    expect(tokenizer.toText(ids)).toBe(decoded_skip_special);
  });

  it.each(tokenizerCases.lossy)("loses what the vocabulary lacks of %j, and nothing else", (text) => {
    const kept = text.replace(/[^a-z]/g, "");
    expect(tokenizer.toText(tokenizer.encode(text))).toBe(kept);
  });

  it("merges across what gets lost", () => {
    // The ids of tokenizers 0.23: "$." and "_." with a byte between that the vocabulary lacks.
    expect(tokenizer.encode("$\u0004.")).toEqual([28422]);
    expect(tokenizer.encode("_\u0004.")).toEqual([23626]);
  });

  it("splits at white space as Unicode has it, not as JavaScript does", () => {
    // The ids of tokenizers 0.23, whose white space has U+0085 and lacks U+FEFF.
    expect(tokenizer.encode("a \ufeff b")).toEqual([81, 216, 186, 136, 140, 278]);
    expect(tokenizer.encode("a\u0085\u0085b \u0085")).toEqual([81, 141, 223, 141, 223, 82, 3351, 223]);
  });

  it("gives back every text whose bytes the vocabulary has", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        const lossless = text.replace(/[^\n\t -~\u{a0}-\u{2ff}\u{3000}-\u{cfff}\u{1f600}-\u{1f6ff}]/gu, "");
        expect(tokenizer.toText(tokenizer.encode(lossless), { skipSpecial: false })).toBe(lossless);
      }),
    );
  });

  it("knows its vocabulary", () => {
    expect(tokenizer.vocabularySize).toBe(49152);
    expect(tokenizer.tokenId("Ġhello")).toBe(33662);
    expect(tokenizer.tokenId("no such token")).toBeUndefined();
    expect([0, 1, 2, 16, 17].map((id) => tokenizer.isSpecial(id))).toEqual([true, true, true, true, false]);
    expect(tokenizer.toText([19556, 60000, -1, 905])).toBe("Hello world");
  });

  it("must fit the model", () => {
    expect(() => tokenizer.checkVocabulary(49152)).not.toThrow();
    expect(() => tokenizer.checkVocabulary(49151)).toThrow(
      expect.objectContaining({ code: "TOKENIZER_MISMATCH", details: { vocabulary: 49151, highestId: 49151 } }),
    );
  });

  it("reads the same as Hugging Face writes it: digits by name, merges as pairs, an end named in tokenizer_config.json", () => {
    const { added_tokens, model } = tokenizerJson;
    const written = Tokenizer.create(
      {
        ...tokenizerJson,
        added_tokens: added_tokens.filter((token: { id: number }) => token.id !== 2),
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [
            { type: "Digits", individual_digits: true },
            { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
          ],
        },
        model: { ...model, merges: model.merges.map((merge: string) => merge.split(" ")) },
      },
      { ...tokenizerConfig, eos_token: { content: "<|im_end|>" } },
    );
    for (const { text, ids } of tokenizerCases.cases) expect(written.encode(text)).toEqual(ids);
    expect(written.encode("a \ufeff b")).toEqual([81, 216, 186, 136, 140, 278]);
    expect(written.isSpecial(2)).toBe(true);
  });
});

describe("a small tokenizer", () => {
  it("encodes", () => {
    const hello = Tokenizer.create(small());
    expect(hello.encode("hello hello<|end|>hell")).toEqual([8, 9, 10, 7]);
    expect(hello.toText([8, 9, 10, 7])).toBe("hello hellohell");
  });

  it("decodes SentencePiece's bytes and spaces", () => {
    const llama2 = Tokenizer.create({
      model: {
        type: "BPE",
        vocab: { "<unk>": 0, "<0xE2>": 1, "<0x82>": 2, "<0xAC>": 3, "▁": 4, a: 5, "▁a": 6 },
        merges: ["▁ a"],
        unk_token: "<unk>",
        byte_fallback: true,
      },
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "▁" },
          { type: "Replace", pattern: { String: " " }, content: "▁" },
        ],
      },
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
    });
    expect(llama2.encode("a €")).toEqual([6, 4, 1, 2, 3]);
    expect(llama2.toText([6, 4, 1, 2, 3])).toBe("a €");
    expect(llama2.toText([4, 6])).toBe(" a");
  });
});

describe("hostile files", () => {
  type Small = ReturnType<typeof small>;
  const broken = (change: (file: Small) => void): Small => {
    const file = small();
    change(file);
    return file;
  };
  const mismatches: [string, unknown, RegExp][] = [
    ["a list", [], /must hold a JSON object but holds a list of 0/],
    ["null", null, /must hold a JSON object but holds null/],
    ["a string", "{}", /must hold a JSON object but holds "\{\}"/],
    ["no model", {}, /model must be an object but is undefined/],
    ["no vocab", broken((file) => delete file.model.vocab), /model\.vocab must be an object/],
    [
      "an id twice",
      broken((file) => Object.assign(file.model.vocab as object, { x: 3 })),
      /each id once but 3 is both "o" and "x"/,
    ],
    ["an id that is no number", broken((file) => Object.assign(file.model.vocab as object, { x: "3" })), /"x" has "3"/],
    ["a huge id", broken((file) => Object.assign(file.model.vocab as object, { x: 2 ** 31 })), /"x" has 2147483648/],
    ["a negative id", broken((file) => Object.assign(file.model.vocab as object, { x: -1 })), /"x" has -1/],
    ["no merges", broken((file) => delete file.model.merges), /model\.merges must be a list but is undefined/],
    ["a merge of three", broken((file) => (file.model.merges = ["h e l"])), /entry 0 is "h e l"/],
    [
      "a merge of numbers",
      broken(
        (file) =>
          (file.model.merges = [
            ["h", "e"],
            [1, 2],
          ]),
      ),
      /entry 1 is a list of 2/,
    ],
    ["mixed merges", broken((file) => (file.model.merges = [["h", "e"], "l l"])), /entry 1 is "l l"/],
    ["an unknown unknown", broken((file) => (file.model.unk_token = "<unk>")), /"<unk>" is not/],
    ["added tokens that are no list", broken((file) => (file.added_tokens = {})), /added_tokens must be a list/],
    ["an added token without content", broken((file) => (file.added_tokens = [{ id: 11 }])), /must each have their content/],
    ["an added token at a taken id", broken((file) => (file.added_tokens = [{ id: 8, content: "<|x|>" }])), /8 is both "hello"/],
    [
      "an added token that moved",
      broken((file) => (file.added_tokens = [{ id: 11, content: "he" }])),
      /"he" is 5 there and 11 here/,
    ],
    [
      "a pattern that is no regular expression",
      broken((file) => (file.pre_tokenizer = { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" })),
      /cannot be read \(.*Is it whole\?/,
    ],
    ["a normalizer of no known type", broken((file) => Object.assign(file, { normalizer: { type: "Magic" } })), /Magic/],
  ];
  it.each(mismatches)("%s: TOKENIZER_MISMATCH", (_, file, message) => {
    const create = () => Tokenizer.create(file);
    expect(create).toThrow(message);
    expect(create).toThrow(expect.objectContaining({ name: "OchreError", code: "TOKENIZER_MISMATCH" }));
  });

  const unsupported: [string, unknown, RegExp][] = [
    ["an unknown model", broken((file) => (file.model.type = "Unigram")), /model\.type must be BPE but is "Unigram"/],
    [
      "an unknown splitter",
      broken((file) => (file.pre_tokenizer = { type: "Punctuation" })),
      /pre_tokenizer\.type .* is "Punctuation"/,
    ],
    [
      "a split that the library does otherwise",
      broken((file) => (file.pre_tokenizer = { type: "Split", pattern: { String: " " }, behavior: "MergedWithNext" })),
      /must be Isolated but is "MergedWithNext"/,
    ],
    [
      "a space before the text",
      broken((file) => (file.pre_tokenizer = { type: "ByteLevel", add_prefix_space: true })),
      /add_prefix_space/,
    ],
    ["an unknown decoder", broken((file) => (file.decoder = { type: "WordPiece" })), /decoder .* step "WordPiece"/],
    ["no decoder", broken((file) => (file.decoder = null)), /decoder .* step undefined/],
  ];
  it.each(unsupported)("%s: MODEL_UNSUPPORTED", (_, file, message) => {
    const create = () => Tokenizer.create(file);
    expect(create).toThrow(message);
    expect(create).toThrow(expect.objectContaining({ name: "OchreError", code: "MODEL_UNSUPPORTED" }));
  });

  it("refuses a tokenizer_config.json that is no object", () => {
    expect(() => Tokenizer.create(small(), [])).toThrow(/tokenizer_config\.json must hold a JSON object/);
  });

  it("takes a token named after an object's own members", () => {
    const file = JSON.parse('{"model":{"vocab":{"__proto__":0,"constructor":1},"merges":[]},"decoder":{"type":"ByteLevel"}}');
    const odd = Tokenizer.create(file);
    expect(["__proto__", "constructor", "toString"].map((token) => odd.tokenId(token))).toEqual([0, 1, undefined]);
  });
});
