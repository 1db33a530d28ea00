import { describe, expect, it } from "vitest";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { linearShape } from "../../runtime/formats/check-tensors";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { dequantizeLinear } from "../../runtime/formats/palettized-linear";
import { makeRotation } from "../../runtime/formats/rotation";
import { foldRotations, rotationsOf } from "../../runtime/palettize/fold";
import { foldedLinears } from "../../runtime/palettize/layers";
import { palettizeLinear } from "../../runtime/palettize/linear";
import { modelLinears } from "../../runtime/palettize/plan";
import { Probe } from "../../runtime/palettize/probe";
import { measureSensitivities } from "../../runtime/palettize/sensitivity";
import type { LinearSensitivity } from "../../runtime/palettize/sensitivity-task";
import { tinyCheckpoint, tinyConfig } from "./checkpoint";

const config = tinyConfig({ H: 4, G: 2, d: 8, D: 32, F: 48 });
const { checkpoint, tensors } = tinyCheckpoint(config, 3);
// Logits of a random model are far too certain to move smoothly.
tensors.get("model.norm.weight")!.values.forEach((value, i, all) => {
  all[i] = 0.2 * value;
});
const tokens = { ids: [4, 9, 2, 33, 17, 8, 41, 5, 5, 20, 13, 7], windowTokens: 8 };

async function measure(options: { bits?: number; done?: ReadonlySet<string>; signal?: AbortSignal; stopAfter?: number } = {}) {
  const measured = new Map<string, LinearSensitivity>();
  const onLinear = async (name: string, sensitivity: LinearSensitivity) => void measured.set(name, sensitivity);
  await measureSensitivities(checkpoint, config, { tokens, bits: 2, seed: 1, onLinear, ...options });
  return measured;
}

/** Log softmax after every token, window by window, of a model whose folded linears may be changed. */
async function predictions(change?: { name: string; weight: Float32Array }): Promise<number[][]> {
  const rotation = rotationsOf(config, 1);
  const layers = Array.from({ length: config.L }, () => ({ linears: {} as Record<(typeof LINEARS)[number], Float32Array> }));
  for await (const { layer, linear, name, weight } of foldedLinears(checkpoint, config, foldRotations(rotation)))
    layers[layer].linears[linear] = change?.name === name ? change.weight : weight;
  const embedding = await checkpoint.read("model.embed_tokens.weight");
  const model = new ReferenceModel(config, {
    embedding,
    head: embedding,
    layers,
    finalNorm: await checkpoint.read("model.norm.weight"),
    rotation: makeRotation(rotation.residual!),
  });
  const all: number[][] = [];
  for (let first = 0; first < tokens.ids.length; first += tokens.windowTokens) {
    const sequence = await model.createSequence();
    await sequence.prefillLogits(tokens.ids.slice(first, first + tokens.windowTokens), (_, logits) => {
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      all.push(Array.from(logits, (logit) => logit - Math.log(total)));
    });
  }
  return all;
}

describe("measureSensitivities", () => {
  it("is the KL of the model with that linear quantized, and its output error, as the reference model has them", async () => {
    const measured = await measure();
    expect([...measured.keys()]).toEqual(modelLinears(config).map(({ name }) => name));
    const expected = await predictions();
    const rotations = foldRotations(rotationsOf(config, 1));
    const probe = new Probe(config, rotations, await checkpoint.read("model.embed_tokens.weight"), tokens);
    for await (const { name, linear, weight, inputs } of foldedLinears(checkpoint, config, rotations, probe)) {
      const [rows, cols] = linearShape(config, linear);
      const bits = new Uint8Array(Math.ceil(rows / 16)).fill(2);
      const { linear: quantized, outputErrors } = palettizeLinear(weight, bits, rows, cols, inputs);
      const actual = await predictions({ name, weight: dequantizeLinear(quantized, rows, cols) });
      let kl = 0;
      expected.forEach((row, t) => {
        row.forEach((p, v) => {
          kl += (Math.exp(p) * (p - actual[t][v])) / expected.length;
        });
      });
      const { kl: told, error } = measured.get(name)!;
      expect(told).toBeGreaterThan(0);
      expect(told / kl).toBeCloseTo(1, 1);
      expect(error / (outputErrors.reduce((sum, value) => sum + value, 0) / tokens.ids.length)).toBeCloseTo(1, 1);
    }
  });

  it("is less at more bits, about in step with the error", async () => {
    const [coarse, fine] = [await measure(), await measure({ bits: 4 })];
    const sum = (of: Map<string, LinearSensitivity>, field: "kl" | "error") =>
      [...of.values()].reduce((total, one) => total + one[field], 0);
    expect(sum(fine, "kl")).toBeLessThan(sum(coarse, "kl") / 4);
    expect(sum(fine, "error")).toBeLessThan(sum(coarse, "error") / 4);
  });

  it("goes on from what is done with the same numbers", async () => {
    const whole = await measure();
    const done = new Set([...whole.keys()].slice(0, 9));
    const rest = await measure({ done });
    expect([...rest]).toEqual([...whole].slice(9));
    expect(await measure({ done: new Set(whole.keys()) })).toEqual(new Map());
  });

  it("an abort rejects with its reason, and no linear after it", async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const measuring = measureSensitivities(checkpoint, config, {
      tokens,
      bits: 2,
      seed: 1,
      signal: controller.signal,
      onLinear: async (name) => {
        seen.push(name);
        if (seen.length === 2) controller.abort("enough");
      },
    });
    await expect(measuring).rejects.toBe("enough");
    expect(seen).toEqual([linearTensor(0, LINEARS[0]), linearTensor(0, LINEARS[1])]);
  });
});
