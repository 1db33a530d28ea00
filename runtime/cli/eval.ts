/**
 * `ochre eval --model DIR_OR_CHECKPOINT --text FILE [--context 512] [--tokens N] [--kv int8] [--int8 on|off] [--reference] [--json]`:
 * perplexity of the first N tokens of a text, in windows that do not overlap, without a BOS token. A window's first token is
 * not scored, so context - 1 are. `--int8` forces whether linears multiply 8-bit integers.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { OchreError } from "../errors";
import { Tokenizer } from "../text/tokenizer";
import { openBackend, type Sequence } from "./backend";
import { inspectCheckpoint } from "./inspect";
import { openCheckpoint } from "./open-checkpoint";
import { readKv, readNumber, required } from "./options";
import { makeProgress } from "./progress";

export interface Evaluation {
  perplexity: number;
  /** Read, in whole windows; of each window all but the first are scored. */
  tokens: number;
  windows: number;
  /** Of the linears, scales and palettes counted. */
  bitsPerWeight: number;
  /** Of all weights as they are stored. */
  bytes: number;
}

/**
 * Prints the result on stdout, and progress with the perplexity so far on stderr.
 * @throws OchreError what openCheckpoint throws; INVALID_ARGUMENT for options that make no sense or a text shorter than a window.
 */
export async function evaluate(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      model: { type: "string" },
      text: { type: "string" },
      context: { type: "string", default: "512" },
      tokens: { type: "string" },
      kv: { type: "string" },
      int8: { type: "string" },
      reference: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const location = required("eval", "model", values.model);
  const context = readNumber("eval", "context", values.context, { min: 2, whole: true });
  const most =
    values.tokens === undefined ? undefined : readNumber("eval", "tokens", values.tokens, { min: context, whole: true });
  if (values.int8 !== undefined && values.int8 !== "on" && values.int8 !== "off")
    throw new OchreError("INVALID_ARGUMENT", `[eval] --int8 must be on or off but is ${JSON.stringify(values.int8)}.`);
  const int8 = values.int8 === undefined ? undefined : values.int8 === "on";
  const kv = values.kv === undefined ? undefined : readKv("eval", values.kv);
  const text = await readFile(required("eval", "text", values.text), "utf8");
  const { bitsPerWeight, bytes } = await inspectCheckpoint(location);
  const opened = await openCheckpoint(location);
  try {
    const { tokenizer, tokenizerConfig } = opened.checkpoint.files;
    if (!tokenizer)
      throw new OchreError("INVALID_ARGUMENT", `[eval] needs a model with tokenizer.json but ${location} has none.`);
    const ids = Tokenizer.create(tokenizer, tokenizerConfig).encode(text).slice(0, most);
    if (ids.length < context) {
      throw new OchreError("INVALID_ARGUMENT", `[eval] the text must fill a window of ${context} tokens but has ${ids.length}.`);
    }
    const backend = await openBackend(opened, { reference: values.reference, int8, kv });
    const sequence = await backend.createSequence({ contextTokens: context });
    const windows = Math.floor(ids.length / context);
    const progress = makeProgress();
    const perplexity = await measurePerplexity(sequence, ids, context, (done, soFar) =>
      progress.update(done, windows, `perplexity ${soFar.toFixed(2)}`),
    );
    progress.clear();
    backend.dispose();
    const result: Evaluation = { perplexity, tokens: windows * context, windows, bitsPerWeight: bitsPerWeight.linears, bytes };
    console.log(values.json ? JSON.stringify(result) : render(result));
  } finally {
    await opened.close();
  }
}

/** exp of the mean negative log-likelihood over the whole windows of `ids`. */
export async function measurePerplexity(
  sequence: Pick<Sequence, "truncate" | "prefillLogits">,
  ids: readonly number[],
  context: number,
  onWindow?: (done: number, perplexity: number) => void,
): Promise<number> {
  let sum = 0;
  let scored = 0;
  for (let start = 0; start + context <= ids.length; start += context) {
    const window = ids.slice(start, start + context);
    sequence.truncate(0);
    await sequence.prefillLogits(window.slice(0, -1), (position, logits) => {
      sum += negativeLogLikelihood(logits, window[position + 1]);
      scored++;
    });
    onWindow?.(start / context + 1, Math.exp(sum / scored));
  }
  return Math.exp(sum / scored);
}

/** -log softmax(logits)[id]. */
function negativeLogLikelihood(logits: Float32Array, id: number): number {
  let max = logits[0];
  for (let v = 1; v < logits.length; v++) if (logits[v] > max) max = logits[v];
  let sum = 0;
  for (let v = 0; v < logits.length; v++) sum += Math.exp(logits[v] - max);
  return max + Math.log(sum) - logits[id];
}

const render = ({ perplexity, tokens, windows, bitsPerWeight, bytes }: Evaluation): string =>
  `perplexity ${perplexity.toFixed(3)} over ${tokens} tokens in ${windows} windows; ` +
  `${bitsPerWeight.toFixed(2)} bits per weight, ${(bytes / 2 ** 20).toFixed(1)} MiB`;
