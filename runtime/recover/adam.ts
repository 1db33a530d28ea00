/** AdamW (arXiv 1711.05101) without decay of weights, a warm-up and a cosine, and gradients of bounded length. */

export interface Adam {
  /** Running means of the gradient and of its square, both in the parameters' layout. */
  mean: Float32Array;
  square: Float32Array;
  /** Steps taken. */
  step: number;
}

const BETA1 = 0.9;
const BETA2 = 0.99;
const EPSILON = 1e-8;
const MAX_LENGTH = 1;

export const makeAdam = (length: number): Adam => ({
  mean: new Float32Array(length),
  square: new Float32Array(length),
  step: 0,
});

/** Changes `parameters` by one step down the gradient, shortened to length 1 where it is longer. Returns the length it had. */
export function adamStep(adam: Adam, parameters: Float32Array, gradient: Float32Array, rate: number): number {
  let squares = 0;
  for (let i = 0; i < gradient.length; i++) squares += gradient[i] ** 2;
  const length = Math.sqrt(squares);
  const shrink = Math.min(1, MAX_LENGTH / length);
  adam.step++;
  const step = rate / (1 - BETA1 ** adam.step);
  const unbiased = 1 / (1 - BETA2 ** adam.step);
  const { mean, square } = adam;
  for (let i = 0; i < gradient.length; i++) {
    const g = gradient[i] * shrink;
    mean[i] = BETA1 * mean[i] + (1 - BETA1) * g;
    square[i] = BETA2 * square[i] + (1 - BETA2) * g * g;
    parameters[i] -= (step * mean[i]) / (Math.sqrt(square[i] * unbiased) + EPSILON);
  }
  return length;
}

/** Rises over the first steps, then falls along a half cosine to a twentieth at the end. `done` of 0 to 1. */
export function learningRate(highest: number, step: number, done: number): number {
  const warm = Math.min(1, (step + 1) / WARM_UP_STEPS);
  return highest * warm * (LEAST + (1 - LEAST) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, done))));
}

const WARM_UP_STEPS = 10;
const LEAST = 0.05;
