import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StreamingDetokenizer, type TokenBytes } from "../../runtime/text/detokenizer";
import { tokenizer, tokenizerCases } from "./sample";

const pushAll = (ids: readonly number[], skipSpecial = true) => {
  const detokenizer = new StreamingDetokenizer(tokenizer, { skipSpecial });
  const pieces = ids.map((id) => detokenizer.push(id));
  return { pieces, end: detokenizer.end() };
};
const anyIds = fc.array(fc.oneof(fc.nat(tokenizer.vocabularySize - 1), fc.integer({ min: 0, max: 300 })), { maxLength: 40 });

describe("streaming", () => {
  it.each(tokenizerCases.streaming)("shows $text as transformers decodes each prefix, less what may still change", (streamed) => {
    const { pieces, end } = pushAll(streamed.ids);
    let shown = "";
    pieces.forEach((piece, i) => {
      shown += piece;
      expect(shown).toBe(streamed.prefix_decodes[i].replace(/\ufffd+$/, ""));
    });
    expect(shown + end).toBe(streamed.text);
  });

  it.each(tokenizerCases.cases)("adds up to the whole text of $text", ({ ids, decoded_skip_special }) => {
    const { pieces, end } = pushAll(ids);
    expect(pieces.join("") + end).toBe(decoded_skip_special);
  });

  it("equals the text of all ids, whatever they are, and one decoding of all their bytes", () => {
    fc.assert(
      fc.property(anyIds, fc.boolean(), (ids, skipSpecial) => {
        const { pieces, end } = pushAll(ids, skipSpecial);
        const kept = skipSpecial ? ids.filter((id) => !tokenizer.isSpecial(id)) : ids;
        const bytes = kept.flatMap((id) => [...tokenizer.bytesOf(id)]);
        expect(pieces.join("") + end).toBe(tokenizer.toText(ids, { skipSpecial }));
        expect(pieces.join("") + end).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes)));
      }),
    );
  });

  it("never takes back what it returned", () => {
    fc.assert(
      fc.property(anyIds, anyIds, (head, tail) => {
        const shown = pushAll(head).pieces.join("");
        expect(tokenizer.toText([...head, ...tail]).startsWith(shown)).toBe(true);
      }),
    );
  });

  it("flushes a character that was never completed, and starts afresh", () => {
    const detokenizer = new StreamingDetokenizer(tokenizer);
    const [first, second, third] = tokenizer.encode("😀");
    expect([detokenizer.push(first), detokenizer.push(second), detokenizer.end()]).toEqual(["", "", "\ufffd"]);
    expect([first, second, third].map((id) => detokenizer.push(id)).join("")).toBe("😀");
    expect(detokenizer.end()).toBe("");
  });

  it("drops the first space of a text, and only that, where the tokenizer puts one", () => {
    const words: TokenBytes = {
      dropsFirstSpace: true,
      isSpecial: (id) => id === 0,
      bytesOf: (id) => new TextEncoder().encode(["<s>", " a", "", " "][id]),
    };
    const detokenizer = new StreamingDetokenizer(words);
    const text = (...ids: number[]) => ids.map((id) => detokenizer.push(id)).join("") + detokenizer.end();
    expect(text(0, 2, 1, 1)).toBe("a a");
    expect(text(3, 1)).toBe(" a");
  });
});
