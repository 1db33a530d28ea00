/** Text to token ids and back, for a model's own tokenizer.json. */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { OchreError } from "../errors";
import { brief } from "../formats/json";
import { type DetokenizeOptions, StreamingDetokenizer, type TokenBytes } from "./detokenizer";
import { mismatch, readTokenizerFile, type TokenizerFile } from "./tokenizer-file";

const NO_BYTES = new Uint8Array();

export class Tokenizer implements TokenBytes {
  /** One more than the highest id: what an embedding table must have at least. */
  readonly vocabularySize: number;
  readonly dropsFirstSpace: boolean;
  readonly #library: HuggingFaceTokenizer;
  readonly #file: TokenizerFile;
  /** By id; ids may have gaps. */
  readonly #tokens: string[] = [];
  readonly #addedIds: ReadonlySet<number>;
  readonly #specialIds: ReadonlySet<number>;

  private constructor(library: HuggingFaceTokenizer, file: TokenizerFile) {
    this.#library = library;
    this.#file = file;
    for (const [token, id] of file.vocabulary) this.#tokens[id] = token;
    this.vocabularySize = this.#tokens.length;
    this.dropsFirstSpace = file.decoder.dropsFirstSpace;
    this.#addedIds = new Set(file.addedTokens.map(({ id }) => id));
    this.#specialIds = new Set(file.addedTokens.filter(({ special }) => special).map(({ id }) => id));
  }

  /**
   * From the parsed tokenizer.json and tokenizer_config.json of a checkpoint. Throws TOKENIZER_MISMATCH where they cannot
   * be read, MODEL_UNSUPPORTED where they ask for something other than the BPE of language models.
   */
  static create(tokenizerJson: unknown, tokenizerConfig: unknown = {}): Tokenizer {
    try {
      const file = readTokenizerFile(tokenizerJson, tokenizerConfig);
      return new Tokenizer(new HuggingFaceTokenizer(file.json, {}), file);
    } catch (cause) {
      if (cause instanceof OchreError) throw cause;
      throw mismatch(`cannot be read (${cause instanceof Error ? cause.message : cause}). Is it whole?`, {}, cause);
    }
  }

  /**
   * The ids of a text. Special tokens that are spelt out in it, such as <|im_start|>, become their own id; none is added,
   * not even one that opens a text: chat templates write theirs.
   */
  encode(text: string): number[] {
    return this.#library.encode(text, { add_special_tokens: false }).ids;
  }

  /** The text of ids; an unknown id adds nothing. */
  toText(ids: Iterable<number>, options?: DetokenizeOptions): string {
    const detokenizer = new StreamingDetokenizer(this, options);
    let text = "";
    for (const id of ids) text += detokenizer.push(id);
    return text + detokenizer.end();
  }

  /** The id of a token as the vocabulary spells it, e.g. "Ġhello". */
  tokenId(token: string): number | undefined {
    return this.#file.vocabulary.get(token);
  }

  isSpecial(id: number): boolean {
    return this.#specialIds.has(id);
  }

  bytesOf(id: number): Uint8Array {
    const token = this.#tokens[id];
    if (token === undefined) return NO_BYTES;
    // Added tokens are plain text; the alphabet of a decoder is for those that the merges make.
    return this.#addedIds.has(id) ? new TextEncoder().encode(token) : this.#file.decoder.bytesOf(token);
  }

  /** Throws TOKENIZER_MISMATCH when the tokenizer knows ids at or beyond `V`, the rows of the model's embedding table. */
  checkVocabulary(V: number): void {
    if (this.vocabularySize <= V) return;
    const last = this.vocabularySize - 1;
    throw mismatch(
      `ids must be below ${V}, the model's vocabulary, but ${brief(this.#tokens[last])} is ${last}. Is this another model's tokenizer?`,
      { vocabulary: V, highestId: last },
    );
  }
}
