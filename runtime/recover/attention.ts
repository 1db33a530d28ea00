/**
 * Causal attention of one window with RoPE, and its gradient. The query heads of a group stand below one another, [n T, d] with
 * n = H / G, so that each product is one large matrix product with the group's keys or values.
 */

import { multiply, multiplyTransposed } from "../compute/multiply";
import { applyRope } from "../engine/reference/attention";
import { outerSum, transpose } from "./matrix";

export interface AttentionShape {
  T: number;
  H: number;
  G: number;
  d: number;
  /** `ropeTable` of T positions or more. */
  rope: RopeTable;
}

export interface RopeTable {
  cos: Float32Array;
  sin: Float32Array;
}

/** What the gradient needs of each group. */
interface Group {
  /** Turned, and divided by sqrt(d): [n T, d]. */
  q: Float32Array;
  /** Turned: [T, d]. */
  k: Float32Array;
  v: Float32Array;
  /** Softmax of the scores, [n T, T]. */
  weights: Float32Array;
}

export interface Attended {
  /** [T, H d] */
  y: Float32Array;
  groups: Group[];
}

/** q [T, H d], k and v [T, G d]. They are turned in place. */
export function attention(q: Float32Array, k: Float32Array, v: Float32Array, shape: AttentionShape): Attended {
  const { T, H, G, d, rope } = shape;
  const n = H / G;
  applyRope(q, T, d, 0, rope);
  applyRope(k, T, d, 0, rope);
  const y = new Float32Array(q.length);
  const groups: Group[] = [];
  for (let g = 0; g < G; g++) {
    const group: Omit<Group, "weights"> = {
      q: takeHeads(q, T, d, g * n, n).map((value) => value / Math.sqrt(d)),
      k: takeHeads(k, T, d, g, 1),
      v: takeHeads(v, T, d, g, 1),
    };
    const weights = multiply(group.k, group.q, n * T);
    softmaxCausal(weights, T);
    putHeads(y, multiply(transpose(group.v, T, d), weights, n * T), T, d, g * n, n);
    groups.push({ ...group, weights });
  }
  return { y, groups };
}

/** Gradients by q, k and v as they were before RoPE. dy [T, H d]. */
export function attentionBack({ groups }: Attended, dy: Float32Array, { T, H, G, d, rope }: AttentionShape) {
  const n = H / G;
  const dq = new Float32Array(T * H * d);
  const dk = new Float32Array(T * G * d);
  const dv = new Float32Array(T * G * d);
  for (const [g, { q, k, v, weights }] of groups.entries()) {
    const dOut = takeHeads(dy, T, d, g * n, n);
    putHeads(dv, outerSum(weights, dOut, n * T), T, d, g, 1);
    const dScores = softmaxBack(weights, multiply(v, dOut, n * T), T);
    putHeads(
      dq,
      multiplyTransposed(k, dScores, n * T).map((value) => value / Math.sqrt(d)),
      T,
      d,
      g * n,
      n,
    );
    putHeads(dk, outerSum(dScores, q, n * T), T, d, g, 1);
  }
  // The transpose of a rotation turns the other way.
  const back = { cos: rope.cos, sin: rope.sin.map((value) => -value) };
  applyRope(dq, T, d, 0, back);
  applyRope(dk, T, d, 0, back);
  return { dq, dk, dv };
}

/** Rows of T queries each against T keys; a query sees the keys up to its own. In place. */
function softmaxCausal(scores: Float32Array, T: number): void {
  for (let row = 0, from = 0; from < scores.length; row++, from += T) {
    const end = from + (row % T) + 1;
    let max = Number.NEGATIVE_INFINITY;
    for (let j = from; j < end; j++) max = Math.max(max, scores[j]);
    let total = 0;
    for (let j = from; j < end; j++) {
      scores[j] = Math.exp(scores[j] - max);
      total += scores[j];
    }
    for (let j = from; j < end; j++) scores[j] /= total;
    scores.fill(0, end, from + T);
  }
}

/** dScores = weights (dWeights - sum(weights dWeights)), for each row; in dWeights' place. */
function softmaxBack(weights: Float32Array, dWeights: Float32Array, T: number): Float32Array {
  for (let from = 0; from < weights.length; from += T) {
    let sum = 0;
    for (let j = from; j < from + T; j++) sum += weights[j] * dWeights[j];
    for (let j = from; j < from + T; j++) dWeights[j] = weights[j] * (dWeights[j] - sum);
  }
  return dWeights;
}

/** Heads first ... first + n - 1 of x [T, heads, d], below one another: [n T, d]. */
function takeHeads(x: Float32Array, T: number, d: number, first: number, n: number): Float32Array {
  const width = x.length / T;
  const out = new Float32Array(n * T * d);
  for (let i = 0; i < n; i++)
    for (let t = 0; t < T; t++) {
      const from = t * width + (first + i) * d;
      out.set(x.subarray(from, from + d), (i * T + t) * d);
    }
  return out;
}

/** The inverse of `takeHeads`. */
function putHeads(x: Float32Array, heads: Float32Array, T: number, d: number, first: number, n: number): void {
  const width = x.length / T;
  for (let i = 0; i < n; i++)
    for (let t = 0; t < T; t++) {
      const from = (i * T + t) * d;
      x.set(heads.subarray(from, from + d), t * width + (first + i) * d);
    }
}
