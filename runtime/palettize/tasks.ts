/** What the compiler gives to threads (runtime/compute/pool.ts). */
import { addMoments } from "../compute/multiply";
import type { Pool } from "../compute/pool";
import type { ModelConfig } from "../engine/config";
import { type Rotation, rotateVector } from "../formats/rotation";
import { type CodedBlocks, codeBlocks } from "./blocks";
import { type InputMetric, inputMetric } from "./feedback";
import { measureOne, type SensitivityTask } from "./sensitivity-task";
import { type InputName, type LayerWeights, runLayer } from "./token-stream";

export interface LayerTask {
  config: ModelConfig;
  weights: LayerWeights;
  /** Residual stream of whole windows, [tokens, D], shared: it is overwritten with what stands behind the layer. */
  x: Float32Array;
  windowTokens: number;
  /** Filled with what the folded linears read, [tokens, cols] each; shared. */
  inputs?: Record<InputName, { values: Float32Array; rotation: Rotation | null }>;
}

function layer({ config, weights, x, windowTokens, inputs }: LayerTask): void {
  runLayer(config, weights, x, windowTokens, (name, read) => {
    if (!inputs) return;
    const { values, rotation } = inputs[name];
    values.set(read);
    if (rotation) for (let at = 0; at < values.length; at += rotation.size) rotateVector(rotation, values, at);
  });
}

export interface MomentsTask {
  /** [cols, cols], shared: what is in it grows. */
  moments: Float32Array;
  /** [tokens, cols], shared. */
  x: Float32Array;
  tokens: number;
  /** Panels of columns, see `addMoments`. */
  panels: readonly [from: number, to: number];
}

function moments({ moments, x, tokens, panels }: MomentsTask): void {
  addMoments(moments, x, tokens, panels);
}

export interface MetricTask {
  /** [cols, cols] */
  moments: Float32Array;
  cols: number;
  kept: number;
  /** [cols, cols], shared: the metric's factor. */
  factor: Float32Array;
}

function metric({ moments, cols, kept, factor }: MetricTask): InputMetric {
  const made = inputMetric(moments, cols, kept);
  factor.set(made.factor);
  return { ...made, factor };
}

export interface CodeTask {
  /** Rows of neighbouring blocks, [rows, cols]. It is overwritten. */
  weight: Float32Array;
  bits: Uint8Array;
  cols: number;
  inputs?: InputMetric;
  elastic?: boolean;
}

const code = ({ weight, bits, cols, inputs, elastic }: CodeTask): CodedBlocks => codeBlocks(weight, bits, cols, inputs, elastic);

const sensitivity = (task: SensitivityTask) => measureOne(task);

export const tasks = { layer, moments, metric, code, sensitivity };
export type CompilerPool = Pool<typeof tasks>;
