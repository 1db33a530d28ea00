/** Gradients against differences: the loss is a fixed random combination of what comes out. */
import { expect } from "vitest";

/**
 * Checks that `gradient` is that of `loss` by `values`, coordinate by coordinate at up to 24 places and along itself. Forward passes round
 * to f32, so a difference is known to about 1e-7 of the loss over the step.
 */
export function expectGradient(loss: () => number, values: Float32Array, gradient: Float32Array, step = 1e-2): void {
  expect(gradient.length).toBe(values.length);
  const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest).toBeGreaterThan(0);
  const stride = Math.max(1, Math.floor(values.length / 24));
  for (let i = 0; i < values.length; i += stride) {
    const before = values[i];
    values[i] = before + step;
    const up = values[i];
    const above = loss();
    values[i] = before - step;
    const below = loss();
    const width = up - values[i];
    values[i] = before;
    expect(Math.abs((above - below) / width - gradient[i]), `coordinate ${i}`).toBeLessThan(5e-3 * largest);
  }
}

/** sum of y weights, in f64. */
export const combine = (y: Float32Array, weights: Float32Array): number =>
  y.reduce((sum, value, i) => sum + value * weights[i], 0);
