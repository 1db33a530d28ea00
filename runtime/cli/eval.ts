/**
 * `ochre eval --model MODEL --text FILE [--text FILE ...] [--source CHECKPOINT] [--context 512] [--tokens N] [--adapter DIR]`: how well a model predicts
 * the first N tokens of each text, in windows that do not overlap, without a BOS token; and, given the checkpoint that it was made
 * of, how far its predictions are from that one's. `--cpu` computes on the CPU with sums in f32, `--reference` in f64, else the GPU does;
 * the source always runs as `--cpu` does, its keys and values in f32.
 */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { type Score, type ScoredSequence, score } from "../engine/evaluation";
import { OchreError } from "../errors";
import { Tokenizer } from "../text/tokenizer";
import { ADAPTER_OPTIONS, openAdapters, readAdapterOptions } from "./adapter-options";
import { type Backend, type BackendOptions, openBackend } from "./backend";
import { inspectCheckpoint } from "./inspect";
import { type OpenCheckpoint, openCheckpoint } from "./open-checkpoint";
import { readKv, readNumber, required } from "./options";
import { untilInterrupted } from "./palettize";
import { makeProgress } from "./progress";
import { bitsPerWeightAt, readWidths, WIDTH_OPTIONS } from "./width-options";

export interface Evaluation {
  model: string;
  source?: string;
  /** What computed the model's predictions, and the source's. */
  runs: { model: string; source?: string };
  /** Tokens of a window; all but its first are scored. */
  context: number;
  texts: TextEvaluation[];
  /** Of the linears as they ran, scales and palettes counted. */
  bitsPerWeight: number;
  /** Of all weights as they are stored. */
  bytes: number;
  seconds: number;
}

export interface TextEvaluation extends Score {
  name: string;
  /** Of the whole file. */
  sha256: string;
  /** Read, in whole windows from the beginning. */
  tokens: number;
}

type EvalOptions = ReturnType<typeof readOptions>;

/**
 * Prints the result on stdout, and progress with the perplexity so far on stderr.
 * @throws OchreError what openCheckpoint throws; INVALID_ARGUMENT for options that make no sense, a text shorter than a window, or a
 *   source with other tokens.
 */
export async function evaluate(argv: string[]): Promise<void> {
  const options = readOptions(argv);
  await untilInterrupted(async (signal) => {
    const result = await measure(options, signal);
    if (options.out) await writeFile(options.out, `${JSON.stringify(result, null, 2)}\n`);
    console.log(options.json ? JSON.stringify(result) : render(result));
  }, "interrupted; nothing was written");
}

function readOptions(argv: string[]) {
  const { values } = parseArgs({
    args: argv,
    options: {
      model: { type: "string" },
      text: { type: "string", multiple: true },
      source: { type: "string" },
      context: { type: "string", default: "512" },
      tokens: { type: "string" },
      kv: { type: "string" },
      int8: { type: "string" },
      ...WIDTH_OPTIONS,
      ...ADAPTER_OPTIONS,
      reference: { type: "boolean", default: false },
      cpu: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      out: { type: "string" },
    },
  });
  const { kv, int8, reference, cpu, tokens, text = [], source, json, out } = values;
  const context = readNumber("eval", "context", values.context, { min: 2, whole: true });
  if (int8 !== undefined && int8 !== "on" && int8 !== "off")
    throw invalid(`--int8 must be on or off but is ${JSON.stringify(int8)}.`);
  if (cpu && reference) throw invalid("--cpu and --reference are two ways to compute: give one of them.");
  if (text.length === 0) throw invalid("needs --text.");
  const backend: BackendOptions = {
    reference: cpu ? "fast" : reference,
    int8: int8 === undefined ? undefined : int8 === "on",
    kv: kv === undefined || kv === "f32" ? kv : readKv("eval", kv),
    ...readWidths("eval", values),
  };
  return {
    model: required("eval", "model", values.model),
    texts: text,
    source,
    context,
    most: tokens === undefined ? undefined : readNumber("eval", "tokens", tokens, { min: context, whole: true }),
    backend,
    adapters: readAdapterOptions(values),
    json,
    out,
  };
}

async function measure(options: EvalOptions, signal: AbortSignal): Promise<Evaluation> {
  const { model, source, context } = options;
  const startedMs = performance.now();
  const { bitsPerWeight, bytes } = await inspectCheckpoint(model);
  const opened = await openCheckpoint(model);
  const openedSource = source === undefined ? undefined : await openCheckpoint(source).catch(closing(opened));
  const backends: Backend[] = [];
  const open = async (checkpoint: OpenCheckpoint, how: BackendOptions) => {
    const backend = await openBackend(checkpoint, how);
    backends.push(backend);
    return { runs: backend.runs, sequence: await backend.createSequence({ contextTokens: context }) };
  };
  try {
    const read = await Promise.all(options.texts.map((file) => readTokens(file, opened, options)));
    if (openedSource) await checkSource(openedSource, opened, read, options);
    const reference = openedSource && (await open(openedSource, { reference: "fast", kv: "f32" }));
    const adapters = await openAdapters(model, opened.config, options.adapters);
    const under = await open(opened, { ...options.backend, adapters });
    const texts: TextEvaluation[] = [];
    for (const text of read) texts.push(await scoreText(text, context, under.sequence, reference?.sequence, signal));
    return {
      model: opened.checkpoint.name,
      source: openedSource?.checkpoint.name,
      runs: { model: under.runs, source: reference?.runs },
      context,
      texts,
      bitsPerWeight:
        options.backend.bits || options.backend.averageBits
          ? await bitsPerWeightAt(opened.checkpoint, opened.config, options.backend)
          : bitsPerWeight.linears,
      bytes,
      seconds: (performance.now() - startedMs) / 1000,
    };
  } finally {
    for (const backend of backends) backend.dispose();
    await opened.close();
    await openedSource?.close();
  }
}

const closing = (opened: OpenCheckpoint) => async (error: unknown) => {
  await opened.close();
  throw error;
};

interface ReadText {
  name: string;
  sha256: string;
  /** Whole windows. */
  ids: number[];
}

async function readTokens(file: string, { checkpoint }: OpenCheckpoint, { context, most }: EvalOptions): Promise<ReadText> {
  const { tokenizer, tokenizerConfig } = checkpoint.files;
  if (!tokenizer) throw invalid(`needs a model with tokenizer.json but ${checkpoint.name} has none.`);
  const bytes = await readFile(file).catch((cause) => {
    throw new OchreError("INVALID_ARGUMENT", `[eval] the text ${file} cannot be read (${cause.code}).`, { cause });
  });
  const ids = Tokenizer.create(tokenizer, tokenizerConfig).encode(bytes.toString("utf8")).slice(0, most);
  if (ids.length < context)
    throw invalid(`${path.basename(file)} must fill a window of ${context} tokens but has ${ids.length}.`);
  return {
    name: path.basename(file),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    ids: ids.slice(0, ids.length - (ids.length % context)),
  };
}

/** Logits can be compared only where they are of the same tokens. */
async function checkSource(
  source: OpenCheckpoint,
  { config, checkpoint }: OpenCheckpoint,
  texts: ReadText[],
  options: EvalOptions,
) {
  const { name, files } = source.checkpoint;
  const isOther = async () => {
    if (source.config.V !== config.V) return true;
    if (!files.tokenizer) return false;
    const own = await Promise.all(options.texts.map((file) => readTokens(file, source, options)));
    return own.some(({ ids }, i) => ids.join() !== texts[i].ids.join());
  };
  if (await isOther()) throw invalid(`--source must read these texts as the tokens of ${checkpoint.name} but ${name} does not.`);
}

async function scoreText(
  { ids, name, sha256 }: ReadText,
  context: number,
  model: ScoredSequence,
  source: ScoredSequence | undefined,
  signal: AbortSignal,
): Promise<TextEvaluation> {
  const progress = makeProgress();
  try {
    const onWindow = (done: number, total: number, { perplexity }: Score) =>
      progress.update(done, total, `${name}: perplexity ${perplexity.toFixed(2)}`);
    return { name, sha256, tokens: ids.length, ...(await score(model, ids, { context, source, onWindow, signal })) };
  } finally {
    progress.clear();
  }
}

function render({ model, runs, context, texts, bitsPerWeight, bytes }: Evaluation): string {
  return [
    ...texts.map(({ name, tokens, perplexity, source }) =>
      [
        `${name}: perplexity ${perplexity.toFixed(3)} over ${tokens} tokens in ${tokens / context} windows`,
        source && `the source's ${source.perplexity.toFixed(3)}`,
        source && `top-1 agreement ${(100 * source.topAgreement).toFixed(2)} %`,
        source && `KL ${source.kl.toFixed(4)} nats a token`,
      ]
        .filter(Boolean)
        .join(", "),
    ),
    `${model}: ${bitsPerWeight.toFixed(2)} bits per weight, ${(bytes / 2 ** 20).toFixed(1)} MiB, on ${runs.model}` +
      (runs.source ? `; the source on ${runs.source}` : ""),
  ].join("\n");
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[eval] ${what}`);
