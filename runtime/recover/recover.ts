/**
 * An adapter that wins back what palettizing lost: low-rank terms beside every linear, first in closed form, then trained until the
 * palettized model predicts what its source predicts. It works in the model's own basis, rotated and with folded norms, and
 * carries the result to that of the source, in which adapters are stored.
 */
import type { ModelConfig } from "../engine/config";
import { loadDenseWeights } from "../engine/reference/weights";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS, linearTensor } from "../formats/palettized";
import type { AdapterWeights } from "../formats/peft";
import { rotateAdapter } from "../formats/rotate-adapter";
import { foldRotations, normBefore } from "../palettize/fold";
import { breathe, checkSource, readFinite } from "../palettize/layers";
import { makeAdam } from "./adam";
import { distill, type Training } from "./distill";
import type { Head } from "./head";
import { layerTerms, parameterCount } from "./parameters";
import { sourcePass } from "./source-pass";
import { type Student, windowDivergence, windowGradient } from "./window";

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
  /** Highest learning rate; default 0.001. */
  rate?: number;
  /** What an earlier run has come to. */
  training?: Training;
  onProgress?: (done: number, note: string) => void;
  /** After every step of training; the next one waits for it. */
  onTraining?: (training: Training) => Promise<void>;
  signal?: AbortSignal;
}

export interface Recovered {
  /** In the source's basis. */
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
/** Second moments of more tokens than these change the closed form no more. */
const FIT_TOKENS = 16384;
const DEFAULT_RATE = 1e-3;

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
  const { ids, rank, seed, onProgress, onTraining, signal } = options;
  checkPair(source, sourceConfig, model, config);
  const windows = cut(ids);
  const rotations = foldRotations(config.quantization!.rotation);
  const { embedding, layers, finalNorm, head } = await loadDenseWeights(model, config);
  const sourceEmbedding = await readFinite(source, "model.embed_tokens.weight");
  const sourceHead: Head = {
    D: config.D,
    normEps: config.normEps,
    rotation: rotations.residual,
    finalNorm: await readFinite(source, "model.norm.weight"),
    head: config.tiedHead ? sourceEmbedding : await readFinite(source, "lm_head.weight"),
  };
  const student: Student = {
    config,
    rank,
    embedding,
    layers: layers.map(({ linears }) => linears),
    head: { ...sourceHead, finalNorm, head },
    teacherHead: sourceHead.head,
  };

  const length = parameterCount(config, rank);
  const training = options.training ?? { parameters: new Float32Array(length), adam: makeAdam(length), seconds: 0 };
  const terms = layerTerms(config, rank, training.parameters);
  const expected = await sourcePass(source, config, {
    windows,
    rotations,
    head: sourceHead,
    embedding: sourceEmbedding,
    fit: options.training ? undefined : { quantized: student.layers, terms, seed, tokens: FIT_TOKENS },
    onLayer: (layer) => onProgress?.((layer + 1) / config.L, `source, layer ${layer + 1}`),
    signal,
  });

  const held = windows.length < 2 ? 0 : Math.min(MAX_HELD, Math.ceil(windows.length / HELD_SHARE));
  const trained = windows.length - held;
  const window = (i: number) => ({ ids: windows[i], expected: expected[i] });
  const measure = async (parameters: Float32Array) => {
    let sum = 0;
    for (let i = held ? trained : 0; i < windows.length; i++) {
      await breathe(signal);
      sum += windowDivergence(student, parameters, window(i));
    }
    return sum / (held || trained);
  };
  const without = await measure(new Float32Array(length));
  const before = await measure(training.parameters);
  onProgress?.(0, `held windows: KL ${without.toFixed(4)}, with the terms ${before.toFixed(4)}`);
  await distill(training, {
    windows: trained,
    windowsPerStep: WINDOWS_PER_STEP,
    steps: options.steps ?? Math.ceil(trained / WINDOWS_PER_STEP),
    minutes: options.minutes,
    rate: options.rate ?? DEFAULT_RATE,
    seed,
    gradients: async (chosen, parameters) => chosen.map((i) => windowGradient(student, parameters, window(i))),
    onStep: async (done, kl) => {
      onProgress?.(done, `step ${training.adam.step}, KL ${kl.toFixed(4)}`);
      await onTraining?.(training);
    },
    signal,
  });
  const after = training.adam.step > 0 ? await measure(training.parameters) : before;

  const linears = terms.flatMap((layer, i) => LINEARS.map((linear) => [linearTensor(i, linear), layer[linear]] as const));
  const rotated: AdapterWeights = { name: options.name, rank, scale: 1, linears: new Map(linears) };
  const norms = await sourceNorms(source, config);
  return { adapter: rotateAdapter(rotated, config, norms, rotations, true), training, kl: { without, before, after } };
}

function checkPair(source: Checkpoint, sourceConfig: ModelConfig, model: Checkpoint, config: ModelConfig): void {
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

/** Whole windows; a text shorter than one is one. */
function cut(ids: readonly number[]): number[][] {
  if (ids.length < 2)
    throw new OchreError("INVALID_ARGUMENT", `[recover] the calibration text must hold 2 tokens or more but has ${ids.length}.`);
  const windows: number[][] = [];
  for (let from = 0; from + WINDOW_TOKENS <= ids.length; from += WINDOW_TOKENS)
    windows.push(ids.slice(from, from + WINDOW_TOKENS));
  return windows.length > 0 ? windows : [[...ids]];
}

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
