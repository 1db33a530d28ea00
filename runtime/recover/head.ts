/** From the residual stream to predictions, and how far the student's are from the teacher's. */
import { multiply, multiplyTransposed } from "../compute/multiply";
import { type Rotation, rotateVector } from "../formats/rotation";
import { norm, normBack } from "./norm";

export interface Head {
  D: number;
  normEps: number;
  /** The stream runs as x R1. */
  rotation: Rotation | null;
  /** [D], in the head's own basis. */
  finalNorm: Float32Array;
  /** [V, D] */
  head: Float32Array;
}

/** Tokens whose logits [V] are held at once, twice over. */
const CHUNK_TOKENS = 128;

/** What the head multiplies: finalNorm norm(x R1^T), [T, D]. */
export function headInput(x: Float32Array, { D, normEps, rotation, finalNorm }: Head): Float32Array {
  const y = norm(turned(x, rotation, D, true), D, normEps).y;
  for (let i = 0; i < y.length; i++) y[i] *= finalNorm[i % D];
  return y;
}

/**
 * Mean over the tokens of KL(teacher || student) in nats, and its gradient by x.
 * @param x The student's stream behind the last layer, [T, D].
 * @param expected The teacher's `headInput`, [T, D].
 * @param teacherHead [V, D]
 */
export function divergence(
  x: Float32Array,
  student: Head,
  expected: Float32Array,
  teacherHead: Float32Array,
): { kl: number; dx: Float32Array } {
  const { D, normEps, rotation, finalNorm, head } = student;
  const T = x.length / D;
  const V = head.length / D;
  const normed = norm(turned(x, rotation, D, true), D, normEps);
  const dNormed = new Float32Array(x.length);
  let kl = 0;
  for (let first = 0; first < T; first += CHUNK_TOKENS) {
    const count = Math.min(CHUNK_TOKENS, T - first);
    const part = (values: Float32Array) => values.subarray(first * D, (first + count) * D);
    const told = multiply(head, scale(part(normed.y), finalNorm), count);
    const wanted = multiply(teacherHead, part(expected), count);
    for (let at = 0; at < told.length; at += V)
      kl += oneDivergence(told.subarray(at, at + V), wanted.subarray(at, at + V), 1 / T);
    part(dNormed).set(scale(multiplyTransposed(head, told, count), finalNorm));
  }
  return { kl: kl / T, dx: turned(normBack(normed, dNormed), rotation, D, false) };
}

/** KL(softmax wanted || softmax told); `told` becomes its gradient times `weight`. */
function oneDivergence(told: Float32Array, wanted: Float32Array, weight: number): number {
  const shift = logSumExp(told);
  const wantedShift = logSumExp(wanted);
  let kl = 0;
  for (let v = 0; v < told.length; v++) {
    const logQ = told[v] - shift;
    const logP = wanted[v] - wantedShift;
    const p = Math.exp(logP);
    kl += p * (logP - logQ);
    told[v] = weight * (Math.exp(logQ) - p);
  }
  return kl;
}

function logSumExp(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < logits.length; v++) max = Math.max(max, logits[v]);
  let total = 0;
  for (let v = 0; v < logits.length; v++) total += Math.exp(logits[v] - max);
  return max + Math.log(total);
}

function turned(x: Float32Array, rotation: Rotation | null, D: number, inverse: boolean): Float32Array {
  const y = x.slice();
  if (rotation) for (let at = 0; at < y.length; at += D) rotateVector(rotation, y, at, 1, inverse);
  return y;
}

/** Each token of x times weight [D]. */
const scale = (x: Float32Array, weight: Float32Array): Float32Array => x.map((value, i) => value * weight[i % weight.length]);
