/** The compiler's side of protocol.ts: the visitor's own files, made ready for a load. A palettized model is taken as it is. */
import { type ModelConfig, parseConfig } from "../engine/config";
import type { Checkpoint } from "../formats/checkpoint";
import { isPalettized } from "../formats/checkpoint-directory";
import { FORMAT_VERSION } from "../formats/palettized";
import { palettize } from "../palettize/compile";
import { planTensors, uniformBits } from "../palettize/plan";
import type { ModelSink } from "../palettize/shards";
import type { LoadProgress, PalettizeChoices, PalettizedReport } from "../sdk/types";
import { CompiledModel } from "../store/compiled-model";
import { sha256 } from "../store/hash";
import { identifyFiles, type LocalFile, localUrl } from "../store/local";
import { modelLock, withLock } from "../store/lock";
import { type Store, withStore } from "../store/store";
import { Tokenizer } from "../text/tokenizer";
import { chatText } from "./chat-text";
import { openCompilerPool } from "./compiler-pool";
import type { CompilerWorker, ModelPlace } from "./protocol";
import { openVisitorFiles, relevantFiles } from "./visitor-files";

/** Tokens of a text that are used. */
const TEXT_TOKENS = 8192;

/**
 * Compiles where nobody has done so yet. With a store the result lies there, under a name made of the files and the choices; without
 * one it comes back as files. An abort or an error leaves the store as it was.
 * Throws what openVisitorFiles and the compiler throw, TOKENIZER_MISMATCH, STORE_QUOTA, STORE_BLOCKED, or the signal's reason.
 */
export const compileFiles: CompilerWorker["compile"] = async ({ choices, cache, ...local }, onProgress, signal) => {
  onProgress({ phase: "read", loaded: 0, total: 0, file: local.name });
  const files = relevantFiles(local);
  const checkpoint = await openVisitorFiles(local);
  const palettized = isPalettized(checkpoint.files);
  const purpose = palettized ? "as it is" : JSON.stringify([FORMAT_VERSION, choices.averageBits ?? null, choices.text ?? null]);
  const url = localUrl(await identifyFiles(files, purpose), local.name);
  signal?.throwIfAborted();
  if (palettized) return { url, files };

  const compile = (sink: ModelSink) => compileCheckpoint(checkpoint, choices, sink, onProgress, signal);
  if (cache) return withStore((store) => compileInto(store, url, checkpoint, compile, signal));
  const made: LocalFile[] = [];
  const write: ModelSink["write"] = async (name, bytes) => {
    made.push({ name, lastModified: Date.now(), contents: new Blob([bytes.slice()]) });
  };
  return { url, palettized: await compile({ write }), files: made };
};

/** Another tab may be compiling the same file: the second one finds what the first has made. */
function compileInto(
  store: Store,
  url: string,
  checkpoint: Checkpoint,
  compile: (sink: ModelSink) => Promise<PalettizedReport>,
  signal?: AbortSignal,
): Promise<ModelPlace> {
  return withLock(modelLock(url), signal, async () => {
    if ((await store.getModel(url))?.complete) return { url };
    const config = parseConfig(checkpoint.files);
    const plan = planTensors(config, uniformBits(config, 4));
    const model = await CompiledModel.begin(store, url, sum(plan.map(({ bytes }) => bytes)));
    try {
      const palettized = await compile(model);
      await model.commit();
      return { url, palettized };
    } catch (error) {
      await model.discard();
      throw error;
    }
  });
}

/** The one place that compiles: whatever computes, it computes in here. */
async function compileCheckpoint(
  checkpoint: Checkpoint,
  { averageBits, text }: PalettizeChoices,
  sink: ModelSink,
  onProgress: (progress: LoadProgress) => void,
  signal?: AbortSignal,
): Promise<PalettizedReport> {
  const startedAt = performance.now();
  const config = parseConfig(checkpoint.files);
  // Before the long work rather than after: a model that cannot speak is of no use.
  chatText(checkpoint.files, config.V);
  const pool = await openCompilerPool();
  try {
    const report = await palettize(checkpoint, config, {
      sink,
      pool,
      allocation: averageBits === undefined ? undefined : { averageBits },
      text: text === undefined ? undefined : await calibrationText(checkpoint, config, text),
      onProgress: ({ done, total, name }) => onProgress({ phase: "palettize", loaded: done, total, file: name }),
      signal,
    });
    const { bytes, averageBits: reached, relativeError } = report;
    return { seconds: (performance.now() - startedAt) / 1000, bytes, averageBits: reached, relativeError };
  } finally {
    await pool.close();
  }
}

async function calibrationText({ files }: Checkpoint, { V }: ModelConfig, text: string) {
  const tokenizer = Tokenizer.create(files.tokenizer, files.tokenizerConfig);
  tokenizer.checkVocabulary(V);
  return { ids: tokenizer.encode(text).slice(0, TEXT_TOKENS), sha256: await sha256(new TextEncoder().encode(text)) };
}

const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
