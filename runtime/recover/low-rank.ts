/** A linear that stays as it is, with a trained term of low rank beside it: y = W x + B (A x). */
import { multiply, multiplyTransposed } from "../compute/multiply";
import type { LowRank } from "../formats/peft";
import { addTo, outerSum } from "./matrix";

/** `a` [rank, cols] and `b` [rows, rank], or gradients by them. */
export type Terms = Pick<LowRank, "a" | "b">;

export interface LinearTrace {
  /** [T, rows] */
  y: Float32Array;
  /** A x, [T, rank]. */
  low: Float32Array;
}

/** weight [rows, cols], x [T, cols]. */
export function linear(weight: Float32Array, { a, b }: Terms, x: Float32Array, T: number): LinearTrace {
  const y = multiply(weight, x, T);
  const low = multiply(a, x, T);
  addTo(y, multiply(b, low, T));
  return { y, low };
}

/** Adds to the gradients of A and B, and returns that of x, [T, cols]. x and low as they went forward, dy [T, rows]. */
export function linearBack(
  weight: Float32Array,
  { a, b }: Terms,
  { x, low }: { x: Float32Array; low: Float32Array },
  dy: Float32Array,
  T: number,
  gradient: Terms,
): Float32Array {
  const dLow = multiplyTransposed(b, dy, T);
  addTo(gradient.b, outerSum(dy, low, T));
  addTo(gradient.a, outerSum(dLow, x, T));
  const dx = multiplyTransposed(weight, dy, T);
  addTo(dx, multiplyTransposed(a, dLow, T));
  return dx;
}
