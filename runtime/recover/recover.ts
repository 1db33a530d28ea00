/**
 * An adapter that wins back what palettizing lost: low-rank terms beside every linear, first in closed form, then trained until the
 * palettized model predicts what its source predicts. It works in the model's own basis, rotated and with folded norms, and
 * carries the result to that of the source, in which adapters are stored.
 */
import { inlinePool } from "../compute/pool";
import type { ModelConfig } from "../engine/config";
import { loadDenseWeights } from "../engine/reference/weights";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS, linearTensor } from "../formats/palettized";
import type { AdapterWeights } from "../formats/peft";
import { rotateAdapter } from "../formats/rotate-adapter";
import { foldRotations, normBefore } from "../palettize/fold";
import { breathe, checkSource, readFinite } from "../palettize/layers";
import type { LinearWeights } from "../palettize/token-stream";
import { makeAdam } from "./adam";
import { distill, type Training } from "./distill";
import type { Head } from "./head";
import { layerTerms, parameterCount } from "./parameters";
import { sourcePass } from "./source-pass";
import { type RecoverPool, recoverTasks } from "./tasks";
import type { Student } from "./window";

export interface RecoverOptions {
  /** Of the adapter. */
  name: string;
  /** Tokens of the calibration text. */
  ids: readonly number[];
  rank: number;
  seed: number;
  /** Of training; 0 leaves it at the closed form. Default one pass over the text. */
  steps?: number;
  /** Ends training by the clock instead. */
  minutes?: number;
  /** Highest learning rate; default 0.0003. */
  rate?: number;
  /** What an earlier run has come to. */
  training?: Training;
  onProgress?: (done: number, note: string) => void;
  /** After every step of training; the next one waits for it. */
  onTraining?: (training: Training) => Promise<void>;
  /** Default the caller's own thread. */
  pool?: RecoverPool;
  signal?: AbortSignal;
}

export interface Recovered {
  /** In the source's basis; the terms with which the run began, where training did not lower the divergence on held text. */
  adapter: AdapterWeights;
  training: Training;
  /** Divergence from the source on windows that were kept out of training, nats a token. */
  kl: Divergences;
}

export interface Divergences {
  /** Of the palettized model by itself. */
  without: number;
  /** With the terms with which this run began: the closed form, or those of an earlier run. */
  before: number;
  after: number;
}

/** Tokens that see each other. */
const WINDOW_TOKENS = 256;
const WINDOWS_PER_STEP = 2;
/** The last windows of a text tell what training is worth: one in so many, up to as many as measure within half a minute. */
const HELD_SHARE = 16;
const MAX_HELD = 8;
const DEFAULT_RATE = 3e-4;

/**
 * Holds the palettized model in f32, both embeddings, and D values a token.
 * @throws OchreError INVALID_ARGUMENT where source and model are not a plain checkpoint and its palettized copy or the text fills no window,
 *   MODEL_FORMAT for a weight that is missing, misshapen or not finite; the signal's reason on abort.
 */
export async function recover(
  source: Checkpoint,
  model: Checkpoint,
  { source: sourceConfig, model: config }: { source: ModelConfig; model: ModelConfig },
  options: RecoverOptions,
): Promise<Recovered> {
  const { rank, seed, pool = inlinePool(recoverTasks), onProgress, onTraining, signal } = options;
  checkPair(source, sourceConfig, model, config);
  const { ids, windowTokens } = wholeWindows(options.ids);
  const rotations = foldRotations(config.quantization!.rotation);
  const sourceHead = await readHead(source, sourceConfig);
  const sourceEmbedding = config.tiedHead ? sourceHead.head : await readFinite(source, "model.embed_tokens.weight");
  const { embedding, layers, finalNorm, head } = await loadDenseWeights(model, config);
  const shared = pool.share(embedding);
  const student: Student = {
    config,
    rank,
    embedding: shared,
    layers: layers.map(({ linears }) => mapLinears(linears, (weight) => pool.share(weight))),
    head: { ...sourceHead, rotation: rotations.residual, finalNorm, head: config.tiedHead ? shared : pool.share(head) },
    teacherHead: pool.share(sourceHead.head),
  };

  const length = parameterCount(config, rank);
  const { parameters, adam, seconds } = options.training ?? {
    parameters: new Float32Array(length),
    adam: makeAdam(length),
    seconds: 0,
  };
  const training: Training = { parameters: pool.share(parameters), adam, seconds };
  const terms = layerTerms(config, rank, training.parameters);
  const expected = await sourcePass(source, config, {
    ...{ pool, ids, windowTokens, embedding: sourceEmbedding, head: sourceHead, signal },
    fit: options.training ? undefined : { rotations, quantized: student.layers, terms, seed },
    onLayer: (layer) => onProgress?.((layer + 1) / config.L, `source, layer ${layer + 1}`),
  });

  const windows = ids.length / windowTokens;
  const held = windows < 2 ? 0 : Math.min(MAX_HELD, Math.ceil(windows / HELD_SHARE));
  const trained = windows - held;
  const window = (i: number) => {
    const [from, to] = [i * windowTokens, (i + 1) * windowTokens];
    return { ids: ids.slice(from, to), expected: expected.slice(from * config.D, to * config.D) };
  };
  const measure = async (parameters: Float32Array) => {
    const chosen = Array.from({ length: held || trained }, (_, i) => (held ? trained + i : i));
    const measured = await Promise.all(chosen.map((i) => pool.run("divergence", { student, parameters, window: window(i) })));
    await breathe(signal);
    return measured.reduce((sum, kl) => sum + kl, 0) / chosen.length;
  };
  const without = await measure(pool.floats(length));
  const before = await measure(training.parameters);
  onProgress?.(0, `held text: KL ${without.toFixed(4)}, with the terms ${before.toFixed(4)}`);
  const start = training.parameters.slice();
  await distill(training, {
    windows: trained,
    windowsPerStep: WINDOWS_PER_STEP,
    steps: options.steps ?? Math.ceil(trained / WINDOWS_PER_STEP),
    minutes: options.minutes,
    rate: options.rate ?? DEFAULT_RATE,
    seed,
    gradients: (chosen, parameters) =>
      Promise.all(chosen.map((i) => pool.run("gradient", { student, parameters, window: window(i) }))),
    onStep: async (done, kl) => {
      onProgress?.(done, `step ${training.adam.step}, KL ${kl.toFixed(4)}`);
      await onTraining?.(training);
    },
    signal,
  });
  const after = training.adam.step > 0 ? await measure(training.parameters) : before;

  // Too high a rate or too little text can undo what the closed form won.
  const best = after < before ? terms : layerTerms(config, rank, start);
  const linears = best.flatMap((layer, i) => LINEARS.map((linear) => [linearTensor(i, linear), layer[linear]] as const));
  const rotated: AdapterWeights = { name: options.name, rank, scale: 1, linears: new Map(linears) };
  const norms = await sourceNorms(source, config);
  return { adapter: rotateAdapter(rotated, config, norms, rotations, true), training, kl: { without, before, after } };
}

/** @throws OchreError INVALID_ARGUMENT where they are not a plain checkpoint and its palettized copy. */
export function checkPair(source: Checkpoint, sourceConfig: ModelConfig, model: Checkpoint, config: ModelConfig): void {
  checkSource(source, sourceConfig);
  if (!config.quantization)
    throw new OchreError("INVALID_ARGUMENT", `[recover] ${model.name} must be palettized but is a plain checkpoint.`);
  for (const size of ["L", "D", "H", "G", "d", "F", "V", "tiedHead"] as const) {
    if (sourceConfig[size] === config[size]) continue;
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[recover] ${source.name} is not what ${model.name} was made from: ${size} is ${sourceConfig[size]} and ${config[size]}.`,
    );
  }
}

/** Those of a plain checkpoint, which runs in its own basis. */
const readHead = async (source: Checkpoint, { D, normEps, tiedHead }: ModelConfig): Promise<Head> => ({
  ...{ D, normEps, rotation: null },
  finalNorm: await readFinite(source, "model.norm.weight"),
  head: await readFinite(source, tiedHead ? "model.embed_tokens.weight" : "lm_head.weight"),
});

/** A text shorter than a window is one. */
function wholeWindows(ids: readonly number[]): { ids: readonly number[]; windowTokens: number } {
  if (ids.length < 2)
    throw new OchreError("INVALID_ARGUMENT", `[recover] the calibration text must hold 2 tokens or more but has ${ids.length}.`);
  const windowTokens = Math.min(WINDOW_TOKENS, ids.length);
  return { ids: ids.slice(0, ids.length - (ids.length % windowTokens)), windowTokens };
}

const mapLinears = (linears: LinearWeights, map: (weight: Float32Array) => Float32Array) =>
  Object.fromEntries(Object.entries(linears).map(([name, weight]) => [name, map(weight)])) as LinearWeights;

async function sourceNorms(source: Checkpoint, { L }: ModelConfig): Promise<Map<string, Float32Array>> {
  const norms = new Map<string, Float32Array>();
  for (const name of new Set(LINEARS.map(normBefore))) {
    for (let layer = 0; name && layer < L; layer++) {
      const tensor = `model.layers.${layer}.${name}.weight`;
      norms.set(tensor, await readFinite(source, tensor));
    }
  }
  return norms;
}
