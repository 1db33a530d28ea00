/**
 * What a unit of each linear's output error costs the model: one linear at a time is quantized, the rest of the model stays, and the
 * KL divergence of its predictions from the source's is divided by the error. It runs in the rotated basis with everything
 * folded, where a quantized linear simply takes its original's place, and from that linear's layer on only.
 */
import { inlinePool } from "../compute/pool";
import type { ModelConfig } from "../engine/config";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS, linearTensor } from "../formats/palettized";
import { makeRotation, rotateVector } from "../formats/rotation";
import { foldRotations, rotationsOf } from "./fold";
import { breathe, checkSource, foldedLinears, readFinite } from "./layers";
import { logProbabilities, type Predictor } from "./predictor";
import { inputName, Probe, type ProbeTokens } from "./probe";
import type { LinearSensitivity } from "./sensitivity-task";
import { type CompilerPool, tasks } from "./tasks";
import type { LinearWeights } from "./token-stream";

export interface SensitivityOptions {
  tokens: ProbeTokens;
  /** The width at which linears are quantized. */
  bits: number;
  /** Of the rotations. */
  seed: number;
  /** Linears that need not be measured again. */
  done?: ReadonlySet<string>;
  /** After every linear, those of `done` left out, one at a time; those of a layer in the order in which they are ready. */
  onLinear: (name: string, measured: LinearSensitivity) => Promise<void>;
  /** What computes; default the caller's own thread. It stays open. */
  pool?: CompilerPool;
  signal?: AbortSignal;
}

/** Linears that are measured as they are. */
const AS_IT_IS = { residual: null, head: null };

/**
 * Holds the model in f32, 4 bytes for each token and word of the vocabulary, and for each thread 128 tokens' logits.
 * @throws OchreError what `checkSource` throws, MODEL_FORMAT for a weight that is not finite; the signal's reason on abort.
 */
export async function measureSensitivities(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { tokens, bits, seed, done, onLinear, pool = inlinePool(tasks), signal }: SensitivityOptions,
): Promise<void> {
  checkSource(checkpoint, config);
  const { residual, head } = rotationsOf(config, seed);
  const embedding = await readFinite(checkpoint, "model.embed_tokens.weight");
  const layers = Array.from({ length: config.L }, () => ({}) as LinearWeights);
  const folded = foldedLinears(checkpoint, config, foldRotations({ residual, head }), undefined, signal);
  for await (const { layer, linear, weight } of folded) layers[layer][linear] = pool.share(weight);
  const predictor: Predictor = {
    config,
    rotation: residual && makeRotation(residual),
    finalNorm: await readFinite(checkpoint, "model.norm.weight"),
    head: pool.share(config.tiedHead ? embedding : await readFinite(checkpoint, "lm_head.weight")),
  };
  const start = () => {
    const probe = new Probe(config, AS_IT_IS, embedding, tokens, pool);
    const { rotation } = predictor;
    if (rotation) for (let at = 0; at < probe.x.length; at += config.D) rotateVector(rotation, probe.x, at);
    return probe;
  };

  const source = start();
  for (const linears of layers) {
    await breathe(signal);
    await source.advance({ linears });
  }
  const expected = pool.floats(tokens.ids.length * config.V);
  logProbabilities(predictor, source.x, expected);

  const probe = start();
  for (let layer = 0; layer < config.L; layer++) {
    await breathe(signal);
    const left = LINEARS.filter((linear) => !done?.has(linearTensor(layer, linear)));
    if (left.length === 0) {
      await probe.advance({ linears: layers[layer] });
      continue;
    }
    const x = probe.x.slice();
    const inputs = await probe.run({ linears: layers[layer] });
    let told = Promise.resolve();
    const measure = async (linear: (typeof LINEARS)[number]) => {
      const measured = await pool.run("sensitivity", {
        config,
        layers: layers.slice(layer),
        linear,
        bits,
        inputs: await inputs[inputName(linear)],
        x,
        windowTokens: tokens.windowTokens,
        predictor,
        expected,
      });
      signal?.throwIfAborted();
      told = told.then(() => onLinear(linearTensor(layer, linear), measured));
      await told;
      await breathe(signal);
    };
    await eachOf(left, pool.threads, measure);
  }
}

/** Begins them in order, as many at a time as there are threads. */
async function eachOf<T>(items: readonly T[], atOnce: number, run: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await run(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** What a sensitivity map says of a measurement: nats per unit of error. */
export const sensitivityOf = ({ kl, error }: LinearSensitivity): number => (error > 0 ? kl / error : 0);
