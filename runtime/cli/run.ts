/**
 * `ochre run --model DIR_OR_CHECKPOINT (--prompt TEXT | --ids JSON) [--max-tokens N] [--temperature T] [--top-k K] [--top-p P]
 * [--min-p P] [--seed S] [--chat] [--kv int8] [--bits 3] [--average-bits 3.2] [--adapter DIR] [--no-recovery]
 * [--reference] [--json]`: continues a prompt, or answers it with --chat.
 *
 * Text streams to stdout and one line of numbers to stderr; with --json stdout gets one line of JSON and nothing else.
 */
import { parseArgs } from "node:util";
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import type { CheckpointFiles } from "../formats/checkpoint";
import { type Metrics, type ReplyTimeline, replyMetrics } from "../metrics";
import { ChatTemplate } from "../text/chat-template";
import { StreamingDetokenizer } from "../text/detokenizer";
import { Tokenizer } from "../text/tokenizer";
import { ADAPTER_OPTIONS, openAdapters, readAdapterOptions } from "./adapter-options";
import { openBackend, type Sequence } from "./backend";
import { openCheckpoint } from "./open-checkpoint";
import { readKv, readNumber, required } from "./options";
import { readWidths, WIDTH_OPTIONS } from "./width-options";

export interface RunReport {
  promptIds: number[];
  /** Generated, a stop id included. */
  ids: number[];
  /** Of `ids` without the stop id; empty for a model without a tokenizer. */
  text: string;
  /** The 20 largest at the prompt's last position, [id, logit], largest first. */
  topLogits: [number, number][];
  metrics: Metrics;
}

type RunOptions = ReturnType<typeof readOptions>;

const TOP_LOGITS = 20;

/** @throws OchreError what openCheckpoint and the engine throw; INVALID_ARGUMENT for options that make no sense. */
export async function run(argv: string[]): Promise<void> {
  const options = readOptions(argv);
  const opened = await openCheckpoint(options.model);
  try {
    const adapters = await openAdapters(options.model, opened.config, options);
    const backend = await openBackend(opened, { ...options, adapters });
    const { files } = opened.checkpoint;
    const onPiece = options.json ? undefined : (piece: string) => process.stdout.write(piece);
    const report = await generate(
      options,
      opened.config,
      files,
      (contextTokens) => backend.createSequence({ contextTokens }),
      onPiece,
    );
    backend.dispose();
    if (options.json) console.log(JSON.stringify(report));
    else console.error(`\n${summary(report)}`);
  } finally {
    await opened.close();
  }
}

function readOptions(argv: string[]) {
  const { values } = parseArgs({
    args: argv,
    options: {
      model: { type: "string" },
      prompt: { type: "string" },
      ids: { type: "string" },
      "max-tokens": { type: "string", default: "128" },
      temperature: { type: "string", default: "0" },
      "top-k": { type: "string", default: "0" },
      "top-p": { type: "string", default: "1" },
      "min-p": { type: "string", default: "0" },
      seed: { type: "string" },
      kv: { type: "string" },
      ...WIDTH_OPTIONS,
      ...ADAPTER_OPTIONS,
      chat: { type: "boolean", default: false },
      reference: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const { prompt, ids, chat, reference, json } = values;
  if ((prompt === undefined) === (ids === undefined) || (chat && prompt === undefined)) {
    throw new OchreError("INVALID_ARGUMENT", "[run] needs either --prompt, with or without --chat, or --ids.");
  }
  const whole = { min: 0, whole: true };
  return {
    model: required("run", "model", values.model),
    prompt,
    ids: ids === undefined ? undefined : parseIds(ids),
    maxTokens: readNumber("run", "max-tokens", values["max-tokens"], { min: 1, whole: true }),
    temperature: readNumber("run", "temperature", values.temperature, { min: 0 }),
    topK: readNumber("run", "top-k", values["top-k"], whole),
    topP: readNumber("run", "top-p", values["top-p"], { min: 0, max: 1 }),
    minP: readNumber("run", "min-p", values["min-p"], { min: 0, max: 1 }),
    seed:
      values.seed === undefined
        ? crypto.getRandomValues(new Uint32Array(1))[0]
        : readNumber("run", "seed", values.seed, { ...whole, max: 2 ** 32 - 1 }),
    kv: values.kv === undefined ? undefined : readKv("run", values.kv),
    ...readWidths("run", values),
    ...readAdapterOptions(values),
    chat,
    reference,
    json,
  };
}

function parseIds(json: string): number[] {
  let ids: unknown;
  try {
    ids = JSON.parse(json);
  } catch {
    // Told below, with what is no list at all.
  }
  if (Array.isArray(ids) && ids.length > 0 && ids.every(Number.isInteger)) return ids;
  throw new OchreError("INVALID_ARGUMENT", `[run] --ids must be a JSON list of token ids, such as [1, 2], but is ${json}.`);
}

async function generate(
  options: RunOptions,
  { contextTokens: window, eosIds }: ModelConfig,
  files: CheckpointFiles,
  createSequence: (contextTokens: number) => Promise<Sequence>,
  onPiece?: (piece: string) => void,
): Promise<RunReport> {
  const calledAt = performance.now();
  const tokenizer = files.tokenizer && Tokenizer.create(files.tokenizer, files.tokenizerConfig);
  const promptIds = options.ids ?? encodePrompt(options, files, tokenizer);
  if (promptIds.length >= window) {
    throw new OchreError("CONTEXT_FULL", `[run] the prompt must leave room in ${window} tokens but takes ${promptIds.length}.`);
  }
  const sequence = await createSequence(Math.min(window, promptIds.length + options.maxTokens));
  const prefillStartedAt = performance.now();
  await sequence.prefill(promptIds);
  const topLogits = largest(await sequence.logits(), TOP_LOGITS);
  const timeline: ReplyTimeline = {
    calledAt,
    prefillStartedAt,
    prefillEndedAt: performance.now(),
    batches: [],
    promptTokens: promptIds.length,
    cachedTokens: 0,
  };
  const { temperature, topK, topP, minP, seed, maxTokens } = options;
  const ids: number[] = [];
  const detokenizer = tokenizer && new StreamingDetokenizer(tokenizer);
  let text = "";
  const emit = (piece: string) => {
    text += piece;
    onPiece?.(piece);
  };
  for await (const batch of sequence.decode({ temperature, topK, topP, minP, seed, maxTokens, stopIds: eosIds })) {
    timeline.batches.push({ at: performance.now(), tokens: batch.length });
    ids.push(...batch);
    if (detokenizer) for (const id of batch) if (!eosIds.includes(id)) emit(detokenizer.push(id));
  }
  if (detokenizer) emit(detokenizer.end());
  sequence.dispose();
  return { promptIds, ids, text, topLogits, metrics: { ...replyMetrics(timeline), seed } };
}

function encodePrompt(
  { model, prompt = "", chat }: RunOptions,
  { tokenizerConfig }: CheckpointFiles,
  tokenizer?: Tokenizer,
): number[] {
  if (!tokenizer) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[run] --prompt needs a model with tokenizer.json but ${model} has none: use --ids.`,
    );
  }
  const text = chat
    ? ChatTemplate.fromTokenizerConfig(tokenizerConfig).render([{ role: "user", content: prompt }], { addGenerationPrompt: true })
    : prompt;
  const ids = tokenizer.encode(text);
  if (ids.length === 0) throw new OchreError("INVALID_ARGUMENT", "[run] --prompt must hold at least one token but is empty.");
  return ids;
}

/** The n largest logits as [id, logit], largest first, the lower id first of ties. */
function largest(logits: Float32Array, n: number): [number, number][] {
  const ids = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  return ids.slice(0, n).map((id) => [id, logits[id]]);
}

function summary({ promptIds, ids, metrics }: RunReport): string {
  const { ttftMs, prefillTokensPerSecond, decodeTokensPerSecond, seed } = metrics;
  const parts = [`${promptIds.length} prompt tokens`, `${ids.length} generated`];
  if (ttftMs !== undefined) parts.push(`first after ${ttftMs.toFixed(0)} ms`);
  if (prefillTokensPerSecond !== undefined) parts.push(`prefill ${prefillTokensPerSecond.toFixed(1)} tokens/s`);
  if (decodeTokensPerSecond !== undefined) parts.push(`decode ${decodeTokensPerSecond.toFixed(1)} tokens/s`);
  return [...parts, `seed ${seed}`].join(", ");
}
