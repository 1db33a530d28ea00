/**
 * What a unit of each linear's output error costs the model: one linear at a time is quantized, the rest of the model stays, and the
 * KL divergence of its predictions from the source's is divided by the error. It runs in the rotated basis with everything
 * folded, where a quantized linear simply takes its original's place, and from that linear's layer on only.
 */
import { multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS, linearTensor, PALETTE_ROWS } from "../formats/palettized";
import { dequantizeLinear } from "../formats/palettized-linear";
import { makeRotation, type Rotation, rotateVector } from "../formats/rotation";
import { foldRotations, rotationsOf } from "./fold";
import { breathe, checkSource, foldedLinears, readFinite } from "./layers";
import { palettizeLinear } from "./linear";
import { inputName, type LayerInputs, metricOf, type ProbeTokens } from "./probe";
import { embedTokens, type LinearWeights, normalize, scaled, TokenStream } from "./token-stream";

export interface LinearSensitivity {
  /** KL(source || source with this linear quantized), nats a token. */
  kl: number;
  /** Its output error, per token, summed over its blocks: the unit of `measureDamages`. */
  error: number;
}

export interface SensitivityOptions {
  tokens: ProbeTokens;
  /** The width at which linears are quantized. */
  bits: number;
  /** Of the rotations. */
  seed: number;
  /** Linears that need not be measured again. */
  done?: ReadonlySet<string>;
  /** After every linear, those of `done` left out; the next one waits for it. */
  onLinear: (name: string, measured: LinearSensitivity) => Promise<void>;
  signal?: AbortSignal;
}

/** Tokens whose logits [V] are held at once. */
const CHUNK_TOKENS = 32;

/**
 * Holds the model in f32, 4 bytes for each token and word of the vocabulary, and the residual stream before each layer.
 * @throws OchreError what `checkSource` throws, MODEL_FORMAT for a weight that is not finite; the signal's reason on abort.
 */
export async function measureSensitivities(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { tokens: { ids, windowTokens }, bits, seed, done, onLinear, signal }: SensitivityOptions,
): Promise<void> {
  checkSource(checkpoint, config);
  const { residual, head } = rotationsOf(config, seed);
  const embedding = await readFinite(checkpoint, "model.embed_tokens.weight");
  const layers = Array.from({ length: config.L }, () => ({}) as LinearWeights);
  const folded = foldedLinears(checkpoint, config, foldRotations({ residual, head }), undefined, signal);
  for await (const { layer, linear, weight } of folded) layers[layer][linear] = weight;
  const predictor: Predictor = {
    config,
    rotation: residual && makeRotation(residual),
    finalNorm: await readFinite(checkpoint, "model.norm.weight"),
    head: config.tiedHead ? embedding : await readFinite(checkpoint, "lm_head.weight"),
  };

  let x = embedTokens(embedding, config.D, ids);
  if (predictor.rotation) for (let at = 0; at < x.length; at += config.D) rotateVector(predictor.rotation, x, at);
  /** Residual stream before each layer, and behind the last. */
  const states = [x];
  const through = (layer: number, state: Float32Array, onInput?: Parameters<TokenStream["run"]>[2]) => {
    const stream = new TokenStream(config, state.slice(), windowTokens);
    stream.run(layers[layer], undefined, onInput);
    return stream.x;
  };
  for (let layer = 0; layer < config.L; layer++) {
    await breathe(signal);
    x = through(layer, x);
    states.push(x);
  }
  const expected = logProbabilities(predictor, x);

  for (let layer = 0; layer < config.L; layer++) {
    const left = LINEARS.filter((linear) => !done?.has(linearTensor(layer, linear)));
    if (left.length === 0) continue;
    const inputs = {} as LayerInputs;
    through(layer, states[layer], (name, values) => {
      inputs[name] = metricOf(values, ids.length);
    });
    for (const linear of left) {
      const original = layers[layer][linear];
      const [rows, cols] = linearShape(config, linear);
      const widths = new Uint8Array(Math.ceil(rows / PALETTE_ROWS)).fill(bits);
      const result = palettizeLinear(original.slice(), widths, rows, cols, inputs[inputName(linear)]);
      layers[layer][linear] = dequantizeLinear(result.linear, rows, cols);
      let y = states[layer];
      for (let next = layer; next < config.L; next++) {
        await breathe(signal);
        y = through(next, y);
      }
      layers[layer][linear] = original;
      const error = result.outputErrors.reduce((sum, value) => sum + value, 0) / ids.length;
      await onLinear(linearTensor(layer, linear), { kl: divergence(predictor, expected, y), error });
    }
  }
}

/** What a sensitivity map says of a measurement: nats per unit of error. */
export const sensitivityOf = ({ kl, error }: LinearSensitivity): number => (error > 0 ? kl / error : 0);

interface Predictor {
  config: ModelConfig;
  rotation: Rotation | null;
  finalNorm: Float32Array;
  head: Float32Array;
}

/** log softmax of the logits after each token of x [tokens, D], the residual stream behind the last layer: [tokens, V]. */
function logProbabilities(predictor: Predictor, x: Float32Array): Float32Array {
  const { V, D } = predictor.config;
  const all = new Float32Array((x.length / D) * V);
  eachPrediction(predictor, x, (token, row) => all.set(row, token * V));
  return all;
}

/** Mean over the tokens of sum_v p (log p - log q), p the expected. */
function divergence(predictor: Predictor, expected: Float32Array, x: Float32Array): number {
  const { V, D } = predictor.config;
  let sum = 0;
  eachPrediction(predictor, x, (token, row) => {
    for (let v = 0, at = token * V; v < V; v++, at++) sum += Math.exp(expected[at]) * (expected[at] - row[v]);
  });
  // Rounding may leave equal predictions a little below zero.
  return Math.max(0, sum / (x.length / D));
}

function eachPrediction(
  { config, rotation, finalNorm, head }: Predictor,
  x: Float32Array,
  onRow: (token: number, logProbabilities: Float32Array) => void,
): void {
  const { V, D } = config;
  const tokens = x.length / D;
  for (let first = 0; first < tokens; first += CHUNK_TOKENS) {
    const count = Math.min(CHUNK_TOKENS, tokens - first);
    const h = x.slice(first * D, (first + count) * D);
    if (rotation) for (let at = 0; at < h.length; at += D) rotateVector(rotation, h, at, 1, true);
    const logits = multiply(head, scaled(normalize(h, config), finalNorm), count);
    for (let t = 0; t < count; t++) {
      const row = logits.subarray(t * V, (t + 1) * V);
      let max = Number.NEGATIVE_INFINITY;
      for (let v = 0; v < V; v++) max = Math.max(max, row[v]);
      let total = 0;
      for (let v = 0; v < V; v++) total += Math.exp(row[v] - max);
      const shift = max + Math.log(total);
      for (let v = 0; v < V; v++) row[v] -= shift;
      onRow(first + t, row);
    }
  }
}
