/** One window through the student and back: its divergence from the teacher, and the gradient of every low-rank term. */
import type { ModelConfig } from "../engine/config";
import { ropeTable } from "../engine/rope-table";
import type { LinearName } from "../formats/palettized";
import { type Rotation, rotateVector } from "../formats/rotation";
import { embedTokens, type LinearWeights } from "../palettize/token-stream";
import { divergence, type Head } from "./head";
import { type LayerShape, layerBack, layerForward } from "./layer";
import { linear, linearBack } from "./low-rank";
import { type LayerTerms, layerTerms } from "./parameters";

/** The palettized model as it computes, and what it is to agree with. */
export interface Student {
  config: ModelConfig;
  rank: number;
  /** [V, D] */
  embedding: Float32Array;
  layers: LinearWeights[];
  head: Head;
  /** The source's, [V, D]. */
  teacherHead: Float32Array;
}

export interface TrainingWindow {
  ids: readonly number[];
  /** `headInput` of the source, [T, D]. */
  expected: Float32Array;
}

/** Mean over the window's tokens in nats, and its gradient by the parameters [parameterCount], in their layout. */
export interface WindowResult {
  kl: number;
  gradient: Float32Array;
}

export function windowGradient(student: Student, parameters: Float32Array, window: TrainingWindow): WindowResult {
  const { config, rank, layers } = student;
  const T = window.ids.length;
  const shape = layerShape(config, T);
  const terms = layerTerms(config, rank, parameters);
  const { x, traces } = forward(student, terms, shape, window.ids);
  const { kl, dx } = divergence(x, student.head, window.expected, student.teacherHead);
  const gradient = new Float32Array(parameters.length);
  const gradients = layerTerms(config, rank, gradient);
  for (let layer = layers.length - 1; layer >= 0; layer--) {
    const trace = traces.pop()!;
    layerBack(trace, dx, shape, (name, input, dy) =>
      linearBack(layers[layer][name], terms[layer][name], { x: input, low: trace.low[name] }, dy, T, gradients[layer][name]),
    );
  }
  return { kl, gradient };
}

/** The divergence alone. */
export function windowDivergence(student: Student, parameters: Float32Array, { ids, expected }: TrainingWindow): number {
  const { config, rank, head, teacherHead } = student;
  const { x } = forward(student, layerTerms(config, rank, parameters), layerShape(config, ids.length), ids);
  return divergence(x, head, expected, teacherHead).kl;
}

/** The residual stream behind the last layer, and what the way back needs. */
function forward({ config, embedding, layers, head }: Student, terms: LayerTerms[], shape: LayerShape, ids: readonly number[]) {
  const x = embedWindow(embedding, config.D, head.rotation, ids);
  const traces = layers.map((weights, layer) => {
    const low = {} as Record<LinearName, Float32Array>;
    const trace = layerForward(x, shape, (name, input) => {
      const applied = linear(weights[name], terms[layer][name], input, shape.T);
      low[name] = applied.low;
      return applied.y;
    });
    return { ...trace, low };
  });
  return { x, traces };
}

export const layerShape = (config: ModelConfig, T: number): LayerShape => ({
  T,
  H: config.H,
  G: config.G,
  d: config.d,
  D: config.D,
  normEps: config.normEps,
  rope: ropeTable(config.rope, config.d, T),
});

/** The residual stream before the first layer, [T, D]. */
export function embedWindow(embedding: Float32Array, D: number, rotation: Rotation | null, ids: readonly number[]): Float32Array {
  const x = embedTokens(embedding, D, ids);
  if (rotation) for (let at = 0; at < x.length; at += D) rotateVector(rotation, x, at);
  return x;
}
