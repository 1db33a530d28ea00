/**
 * A calibration text in the model's own words. A model that is asked to go on from many different openings shows what its linears
 * read at least as well as a text that somebody happened to have, and there is always one (LLM-QAT, arXiv 2305.17888).
 */
import { uniform } from "../../kernels/reference/sample-gumbel";
import type { ModelConfig } from "../engine/config";
import { loadDenseWeights } from "../engine/reference/weights";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import { ChatTemplate } from "../text/chat-template";
import { Tokenizer } from "../text/tokenizer";
import { BatchDecoder } from "./batch-decoder";
import { breathe, checkSource } from "./layers";
import { PASSAGES, QUESTIONS } from "./openings";

export interface OwnTextOptions {
  /** About as many as the text shall have, openings counted. */
  tokens: number;
  /** u32: another seed, another text. */
  seed: number;
  /** Tokens written, of how many. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** Sequences that are written side by side. */
const SLOTS = 32;
/** A document ends here, if the model does not end it sooner. */
const DOCUMENT_TOKENS = 288;
/** Likelier than not to stay in the language; lower, and a small model starts to repeat itself. */
const TEMPERATURE = 1;
const TOP_P = 0.95;
/** Of the likeliest token's probability; what is below is in no nucleus that matters, and need not be sorted. */
const NEGLIGIBLE = 1e-4;

/**
 * Lets the model write. Takes f32 weights, 4 bytes each, and a cache for 32 sequences of 288 tokens; the same seed gives the same text.
 * @throws OchreError INVALID_ARGUMENT where the checkpoint has no tokenizer; what checkSource throws; the signal's reason on abort.
 */
export async function writeOwnText(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { tokens, seed, onProgress, signal }: OwnTextOptions,
): Promise<string> {
  checkSource(checkpoint, config);
  if (!checkpoint.files.tokenizer) {
    throw new OchreError("INVALID_ARGUMENT", `[write] needs a checkpoint with tokenizer.json but ${checkpoint.name} has none.`);
  }
  const tokenizer = Tokenizer.create(checkpoint.files.tokenizer, checkpoint.files.tokenizerConfig);
  tokenizer.checkVocabulary(config.V);
  const openings = openingIds(tokenizer, checkpoint.files.tokenizerConfig);
  const weights = await loadDenseWeights(checkpoint, config);
  const decoder = new BatchDecoder(config, weights, SLOTS, DOCUMENT_TOKENS);

  const documents: number[][] = [];
  const begin = () => {
    documents.push([]);
    return documents.length - 1;
  };
  const openingOf = (document: number) => openings[document % openings.length];
  /** The document that each slot writes. */
  const writing = Array.from({ length: SLOTS }, begin);
  const next = writing.map((document) => openingOf(document)[0]);
  for (let done = 0; done < tokens; done += SLOTS) {
    onProgress?.(done, tokens);
    await breathe(signal);
    const logits = decoder.step(next);
    for (let slot = 0; slot < SLOTS; slot++) {
      const document = writing[slot];
      const ids = documents[document];
      const opening = openingOf(document);
      const last = next[slot];
      ids.push(last);
      const hasEnded = ids.length > opening.length && tokenizer.isSpecial(last);
      if (hasEnded || ids.length === DOCUMENT_TOKENS) {
        writing[slot] = begin();
        next[slot] = openingOf(writing[slot])[0];
        decoder.restart(slot);
      } else if (ids.length < opening.length) next[slot] = opening[ids.length];
      else next[slot] = draw(logits.subarray(slot * config.V, (slot + 1) * config.V), uniform(seed, ids.length, document));
    }
  }
  return documents
    .filter((ids) => ids.length > 0)
    .map((ids) => `${tokenizer.toText(ids, { skipSpecial: false })}\n`)
    .join("\n");
}

/** Two passages to a question; passages only for a model without a chat template. */
function openingIds(tokenizer: Tokenizer, tokenizerConfig: unknown): number[][] {
  const hasChat = typeof tokenizerConfig === "object" && tokenizerConfig !== null && "chat_template" in tokenizerConfig;
  const template = hasChat ? ChatTemplate.fromTokenizerConfig(tokenizerConfig) : undefined;
  const questions = template
    ? QUESTIONS.map((content) => template.render([{ role: "user", content }], { addGenerationPrompt: true }))
    : [];
  const texts: string[] = [];
  for (let i = 0; i < PASSAGES.length; i++) {
    texts.push(PASSAGES[i]);
    if (i % 2 === 1 && i >> 1 < questions.length) texts.push(questions[i >> 1]);
  }
  return texts.map((text) => tokenizer.encode(text)).filter((ids) => ids.length > 0 && ids.length < DOCUMENT_TOKENS);
}

/** A token of the nucleus (Holtzman et al., arXiv 1904.09751): the likeliest ones that together have probability TOP_P. @param u in (0, 1) */
function draw(logits: Float32Array, u: number): number {
  let max = logits[0];
  for (const logit of logits) if (logit > max) max = logit;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - max) / TEMPERATURE));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const likely: number[] = [];
  weights.forEach((weight, id) => {
    if (weight >= NEGLIGIBLE) likely.push(id);
  });
  likely.sort((a, b) => weights[b] - weights[a] || a - b);
  let nucleus = 0;
  let reached = 0;
  while (nucleus < likely.length && reached < TOP_P * total) reached += weights[likely[nucleus++]];
  let left = u * reached;
  for (const id of likely.slice(0, nucleus)) {
    left -= weights[id];
    if (left < 0) return id;
  }
  return likely[nucleus - 1];
}
