import { describe, expect, it } from "vitest";
import { bytesSource } from "../../runtime/formats/byte-source";
import { adamStep, learningRate, makeAdam } from "../../runtime/recover/adam";
import { type DistillOptions, distill, shuffled, type Training } from "../../runtime/recover/distill";
import { encodeTraining, readTraining } from "../../runtime/recover/training-file";

/** Every window wants the parameters elsewhere, and the mean of those places is best. */
const wanted = [3, -1, 2, 0, 1, 1];
const options: DistillOptions = {
  windows: wanted.length,
  windowsPerStep: 2,
  steps: 300,
  rate: 0.1,
  seed: 4,
  gradients: async (windows, parameters) =>
    windows.map((i) => ({
      kl: (parameters[0] - wanted[i]) ** 2 + parameters[1] ** 2,
      gradient: Float32Array.of(2 * (parameters[0] - wanted[i]), 2 * parameters[1]),
    })),
  onStep: async () => {},
};
const start = (): Training => ({ parameters: Float32Array.of(5, -4), adam: makeAdam(2), seconds: 0 });

describe("distill", () => {
  it("goes down to the mean of what the windows want", async () => {
    const training = start();
    await distill(training, options);
    expect(training.adam.step).toBe(300);
    expect(training.parameters[0]).toBeCloseTo(1, 1);
    expect(training.parameters[1]).toBeCloseTo(0, 1);
  });

  it("passes over all windows, each time in another order, and tells their mean", async () => {
    const seen: number[] = [];
    const told: number[] = [];
    await distill(start(), {
      ...options,
      steps: 6,
      gradients: async (windows, parameters) => {
        seen.push(...windows);
        return options.gradients(windows, parameters);
      },
      onStep: async (done, kl) => {
        told.push(done);
        expect(kl).toBeGreaterThan(0);
      },
    });
    const passes = [seen.slice(0, 6), seen.slice(6)];
    for (const pass of passes) expect(pass.toSorted()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(passes[0]).not.toEqual(passes[1]);
    expect(told).toEqual([1, 2, 3, 4, 5, 6].map((n) => n / 6));
  });

  it("stopped and gone on with is as if it had never stopped", async () => {
    const whole = start();
    await distill(whole, { ...options, steps: 40 });
    const controller = new AbortController();
    const first = start();
    const stopping = distill(first, {
      ...options,
      steps: 40,
      signal: controller.signal,
      onStep: async () => {
        if (first.adam.step === 17) controller.abort("enough");
      },
    });
    await expect(stopping).rejects.toBe("enough");
    const { training, about } = await readTraining(bytesSource("training", encodeTraining(first, "these")));
    expect(about).toBe("these");
    expect(training.adam.step).toBe(17);
    expect(training.seconds).toBe(first.seconds);
    await distill(training, { ...options, steps: 40 });
    expect(training.parameters).toEqual(whole.parameters);
    expect(training.adam).toEqual(whole.adam);
  });

  it("ends by the clock where minutes say so", async () => {
    const training = { ...start(), seconds: 59.8 };
    await distill(training, { ...options, minutes: 1, steps: 1, onStep: () => new Promise((done) => setTimeout(done, 1)) });
    expect(training.seconds).toBeGreaterThanOrEqual(60);
  });
});

describe("adamStep", () => {
  it("moves by the rate at first, whatever the gradient's length, and bounds that", () => {
    for (const scale of [1, 1e6]) {
      const adam = makeAdam(2);
      const parameters = new Float32Array(2);
      expect(adamStep(adam, parameters, Float32Array.of(3 * scale, -4 * scale), 0.1)).toBeCloseTo(5 * scale);
      expect(parameters[0]).toBeCloseTo(-0.1, 5);
      expect(parameters[1]).toBeCloseTo(0.1, 5);
      expect(Math.hypot(...adam.mean)).toBeCloseTo(0.1, 5);
    }
  });
});

describe("learningRate", () => {
  it("warms up, then falls along a cosine to a twentieth", () => {
    expect(learningRate(1, 0, 0)).toBeCloseTo(0.1);
    expect(learningRate(1, 50, 0)).toBeCloseTo(1);
    expect(learningRate(1, 50, 0.5)).toBeCloseTo(0.525);
    expect(learningRate(1, 50, 1)).toBeCloseTo(0.05);
  });
});

describe("shuffled", () => {
  it("is an order of all, the same for a seed", () => {
    expect(shuffled(50, 1).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(shuffled(50, 1)).toEqual(shuffled(50, 1));
    expect(shuffled(50, 1)).not.toEqual(shuffled(50, 2));
  });
});
