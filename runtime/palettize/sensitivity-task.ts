/** One linear quantized in a model that else stays as it is. */
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import { type LinearName, PALETTE_ROWS } from "../formats/palettized";
import { dequantizeLinear } from "../formats/palettized-linear";
import type { InputMetric } from "./feedback";
import { palettizeLinear } from "./linear";
import { divergence, type Predictor } from "./predictor";
import { type LinearWeights, runLayer } from "./token-stream";

export interface LinearSensitivity {
  /** KL(source || source with this linear quantized), nats a token. */
  kl: number;
  /** Its output error, per token, summed over its blocks: the unit of `measureDamages`. */
  error: number;
}

export interface SensitivityTask {
  config: ModelConfig;
  /** From the linear's own layer on, folded; shared. */
  layers: LinearWeights[];
  linear: LinearName;
  bits: number;
  inputs: InputMetric;
  /** Residual stream before those layers, [tokens, D]. */
  x: Float32Array;
  windowTokens: number;
  predictor: Predictor;
  /** What the source predicts, log probabilities [tokens, V]; shared. */
  expected: Float32Array;
}

export function measureOne(task: SensitivityTask): LinearSensitivity {
  const { config, layers, linear, bits, inputs, windowTokens, predictor, expected } = task;
  const [rows, cols] = linearShape(config, linear);
  const widths = new Uint8Array(Math.ceil(rows / PALETTE_ROWS)).fill(bits);
  const result = palettizeLinear(new Float32Array(layers[0][linear]), widths, rows, cols, inputs);
  const quantized = { ...layers[0], [linear]: dequantizeLinear(result.linear, rows, cols) };
  const x = new Float32Array(task.x);
  for (const linears of [quantized, ...layers.slice(1)]) runLayer(config, { linears }, x, windowTokens);
  const error = result.outputErrors.reduce((sum, value) => sum + value, 0) / (x.length / config.D);
  return { kl: divergence(predictor, expected, x), error };
}
