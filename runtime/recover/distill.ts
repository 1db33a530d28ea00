/** Training: the student's predictions are drawn towards the source's, window by window (distillation, arXiv 1503.02531). */
import { breathe } from "../palettize/layers";
import { type Adam, adamStep, learningRate } from "./adam";
import { addTo } from "./matrix";
import type { WindowResult } from "./window";

/** What training has come to; a file of it is enough to go on. */
export interface Training {
  /** [parameterCount] */
  parameters: Float32Array;
  adam: Adam;
  /** Spent so far. */
  seconds: number;
}

export interface DistillOptions {
  /** Number of windows that there are. */
  windows: number;
  windowsPerStep: number;
  /** Of how many steps the schedule is made, unless minutes say it. */
  steps: number;
  /** Ends by the clock instead: not repeatable. */
  minutes?: number;
  /** Highest learning rate. */
  rate: number;
  /** Of the order of windows. */
  seed: number;
  /** Divergence and gradient of some windows, in order. */
  gradients: (windows: readonly number[], parameters: Float32Array) => Promise<WindowResult[]>;
  /** After every step: how much is done, of 1, and the mean divergence of its windows before it. */
  onStep: (done: number, kl: number) => Promise<void>;
  signal?: AbortSignal;
}

/** Changes `training` in place, step by step. @throws the signal's reason on abort, between two steps. */
export async function distill(training: Training, options: DistillOptions): Promise<void> {
  const { windowsPerStep, steps, minutes, rate, gradients, onStep, signal } = options;
  const { parameters, adam } = training;
  const before = training.seconds;
  const startedMs = performance.now();
  const done = () => (minutes === undefined ? adam.step / steps : training.seconds / (60 * minutes));
  while (done() < 1) {
    await breathe(signal);
    const chosen = Array.from({ length: windowsPerStep }, (_, i) => windowAt(adam.step * windowsPerStep + i, options));
    const results = await gradients(chosen, parameters);
    const [{ gradient }, ...others] = results;
    for (const other of others) addTo(gradient, other.gradient);
    for (let i = 0; i < gradient.length; i++) gradient[i] /= results.length;
    adamStep(adam, parameters, gradient, learningRate(rate, adam.step, done()));
    training.seconds = before + (performance.now() - startedMs) / 1000;
    await onStep(Math.min(1, done()), results.reduce((sum, { kl }) => sum + kl, 0) / results.length);
  }
}

/** The n-th window of all passes over the text, each pass in an order of its own. */
function windowAt(n: number, { windows, seed }: Pick<DistillOptions, "windows" | "seed">): number {
  const pass = Math.floor(n / windows);
  return shuffled(windows, seed + pass)[n % windows];
}

/** Fisher and Yates' shuffle of 0 ..< count. */
export function shuffled(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  let state = seed >>> 0;
  for (let i = count - 1; i > 0; i--) {
    // A full-period congruential generator (Numerical Recipes); its high bits are the random ones.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
