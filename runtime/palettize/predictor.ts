/** What a model predicts from its residual stream behind the last layer, in the rotated basis. */
import { multiply } from "../compute/multiply";
import type { ModelConfig } from "../engine/config";
import { type Rotation, rotateVector } from "../formats/rotation";
import { normalize, scaled } from "./token-stream";

export interface Predictor {
  config: ModelConfig;
  rotation: Rotation | null;
  finalNorm: Float32Array;
  /** [V, D] */
  head: Float32Array;
}

/** Tokens whose logits [V] are held at once. */
const CHUNK_TOKENS = 128;

/** log softmax of the logits after each token of x [tokens, D]: written to `all` [tokens, V]. */
export function logProbabilities(predictor: Predictor, x: Float32Array, all: Float32Array): void {
  eachPrediction(predictor, x, (token, row) => all.set(row, token * predictor.config.V));
}

/** Mean over the tokens of sum_v p (log p - log q), p the expected. */
export function divergence(predictor: Predictor, expected: Float32Array, x: Float32Array): number {
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
      for (let v = 0; v < V; v++) if (row[v] > max) max = row[v];
      let total = 0;
      for (let v = 0; v < V; v++) total += Math.exp(row[v] - max);
      const shift = max + Math.log(total);
      for (let v = 0; v < V; v++) row[v] -= shift;
      onRow(first + t, row);
    }
  }
}
