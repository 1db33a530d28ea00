/** Token ids to text, one at a time: what `push` returns can go on the page at once, for it never changes. */

/** What a detokenizer needs to know of a vocabulary. */
export interface TokenBytes {
  /** The bytes that a token adds to the text: not always whole UTF-8 sequences, none for an unknown id. */
  bytesOf(id: number): Uint8Array;
  isSpecial(id: number): boolean;
  /** The first space of a text is an artefact of encoding (SentencePiece puts one before every text). */
  readonly dropsFirstSpace: boolean;
}

export interface DetokenizeOptions {
  /** Leave special tokens, such as the end of a turn, out of the text. Default true. */
  skipSpecial?: boolean;
}

const SPACE = 0x20;

/**
 * A character may be spread over several tokens; its bytes wait until the last of them arrives. Bytes that cannot become
 * a character turn into U+FFFD, as the Unicode standard recommends (one for each maximal part of a sequence).
 */
export class StreamingDetokenizer {
  readonly #tokens: TokenBytes;
  readonly #skipSpecial: boolean;
  readonly #utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  #atStart = true;

  constructor(tokens: TokenBytes, { skipSpecial = true }: DetokenizeOptions = {}) {
    this.#tokens = tokens;
    this.#skipSpecial = skipSpecial;
  }

  /** Takes the next token and returns the text that is now final: often the token's own, sometimes "" or more. */
  push(id: number): string {
    if (this.#skipSpecial && this.#tokens.isSpecial(id)) return "";
    let bytes = this.#tokens.bytesOf(id);
    if (this.#atStart && bytes.length > 0) {
      this.#atStart = false;
      if (this.#tokens.dropsFirstSpace && bytes[0] === SPACE) bytes = bytes.subarray(1);
    }
    return this.#utf8.decode(bytes, { stream: true });
  }

  /** Ends the text: returns U+FFFD for a character that was never completed, else "". The next `push` starts a new text. */
  end(): string {
    this.#atStart = true;
    return this.#utf8.decode();
  }
}
