/**
 * Widths at run time on a tiny model of mixed widths: the GPU engine after setBits against the CPU reference at the same widths, down and
 * up again, in the midst of a sequence, with the bytes and the host's time that it takes.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import type { LoadWeightsOptions } from "../../runtime/engine/reference/weights";
import type { Sequence } from "../../runtime/engine/sequence";
import type { WidthChoice } from "../../runtime/engine/width-choice";
import { klDivergence } from "./compare";
import { type TinyModel, tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 90 }, (_, i) => (i * 73 + 11) % 512);
const CONTEXT = 128;
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], speculate: "never" as const };
/** Narrower at every stack, one part of a stack, one layer alone. */
const CHOICES: WidthChoice[] = [
  { "mlp.down_proj": 3 },
  { "*": 2 },
  { "self_attn.k_proj": 2, "mlp.gate_proj": 3, "model.layers.1.self_attn.o_proj": 2 },
  { "*": 3, "layers.0.*": 2 },
];

const KINDS = [
  { kind: "palettes", choice: { software: false, int8: false }, int8: undefined, gate: 1e-4 },
  { kind: "palettes in int8", choice: { software: false, int8: true }, int8: "activations too" as const, gate: 1e-2 },
  { kind: "software, palettes", choice: { software: true, int8: false }, int8: undefined, gate: 1e-4 },
  { kind: "software, int8", choice: { software: true, int8: true }, int8: "weights" as const, gate: 0.1 },
];

let tiny: TinyModel;
beforeAll(async () => {
  tiny = await tinyModel("llama", [4, 3, 4, 2]);
});

async function logitsOf(sequence: Sequence): Promise<Float32Array> {
  sequence.truncate(0);
  await sequence.prefill(IDS.slice(0, 80)); // tiles
  for (const id of IDS.slice(80)) await sequence.prefill([id]); // and matvecs
  return sequence.logits();
}

async function decoded(sequence: Sequence, maxTokens: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const batch of sequence.decode({ ...GREEDY, maxTokens })) ids.push(...batch);
  return ids;
}

async function referenceLogits(options: LoadWeightsOptions, of = tiny): Promise<Float32Array> {
  const model = await ReferenceModel.load(of.checkpoint, of.config, options);
  const sequence = await model.createSequence({ contextTokens: CONTEXT, kv: { k: 8, v: 8 } });
  await sequence.prefill(IDS);
  return sequence.logits();
}

describe.each(KINDS)("setBits, $kind", ({ choice, int8, gate, kind }) => {
  let engine: Engine;
  let sequence: Sequence;
  const expanded = kind === "software, int8";

  beforeAll(async () => {
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...tiny,
      choice,
      disabledFeatures: ["shader-f16"],
      contextTokens: CONTEXT,
    });
    sequence = await engine.createSequence({ contextTokens: CONTEXT });
    // The first change makes the uniforms of its shapes, which stay.
    await engine.setBits({ "*": 2 });
  });
  afterAll(() => engine.dispose());

  it.each(CHOICES)("computes what the reference computes at %j", async (bits) => {
    await engine.setBits({ "*": 4 });
    await engine.setBits(bits);
    expect(klDivergence(await logitsOf(sequence), await referenceLogits({ bits, int8 }))).toBeLessThan(gate);
    const fresh = await engine.createSequence({ contextTokens: CONTEXT });
    expect(await logitsOf(fresh)).toEqual(await logitsOf(sequence));
    fresh.dispose();
  });

  it("comes back to the same bits by whatever way", async () => {
    await engine.setBits({ "*": 4 });
    const before = { weights: engine.weightBytes, gpu: engine.gpuBytes, bits: engine.bits, average: engine.averageBits };
    const logits = await logitsOf(sequence);
    for (const bits of [...CHOICES, { "*": 3 }, { "mlp.up_proj": 4 }, { "*": 4 }]) await engine.setBits(bits);
    expect(await logitsOf(sequence)).toEqual(logits);
    expect({ weights: engine.weightBytes, gpu: engine.gpuBytes, bits: engine.bits, average: engine.averageBits }).toEqual(before);
  });

  it("takes the bytes of its planes, and says so", async () => {
    await engine.setBits({ "*": 4 });
    const before = { weights: engine.weightBytes, gpu: engine.gpuBytes, read: sequence.bytesPerToken() };
    const change = await engine.setBits({ "mlp.down_proj": 2 });
    const [D, F] = [tiny.config.D, tiny.config.F];
    // A 4-bit block has 4 bits more a weight than a 2-bit one has beyond 2; blocks of 4, 3, 4 and 2 bits in turn.
    const beyond2 = [2, 1, 2, 0];
    let planes = 0;
    for (let block = 0; block < Math.ceil(D / 16); block++) planes += (beyond2[block % 4] * 16 * Math.ceil(F / 64) * 64) / 8;
    const less = expanded ? 0 : tiny.config.L * planes - 2 * 16 * tiny.config.L; // an empty buffer has 16 bytes
    expect(change.linears).toBe(tiny.config.L);
    expect(change.readMs > 0).toBe(expanded);
    expect(before.weights - engine.weightBytes).toBe(less);
    expect(before.gpu - engine.gpuBytes).toBe(less);
    expect(before.read - sequence.bytesPerToken()).toBe(less);
    expect(change.weightBytes).toBe(engine.weightBytes);
    expect(engine.bits["model.layers.0.mlp.down_proj"]).toBe(2);
    expect(engine.bits["model.layers.0.mlp.up_proj"]).toBeGreaterThan(3);
  });

  it("takes effect in the midst of a reply, which keeps its cache", async () => {
    const prefix = IDS.slice(0, 20);
    // More than the submits under way when the change comes can hold.
    const most = CONTEXT - prefix.length;
    await engine.setBits({ "*": 4 });
    sequence.truncate(0);
    await sequence.prefill(prefix);
    const ids: number[] = [];
    let changed = 0;
    for await (const batch of sequence.decode({ ...GREEDY, maxTokens: most })) {
      ids.push(...batch);
      if (changed === 0) {
        await engine.setBits({ "*": 2 });
        changed = ids.length;
      }
    }
    expect(ids.length).toBe(most);
    expect(sequence.ids).toEqual([...prefix, ...ids.slice(0, -1)]);
    // A wide start and a narrow end: neither what all of it would be in one width nor in the other.
    const whole = async (bits: number) => {
      await engine.setBits({ "*": bits });
      sequence.truncate(0);
      await sequence.prefill(prefix);
      return decoded(sequence, most);
    };
    expect(ids.slice(0, changed)).toEqual((await whole(4)).slice(0, changed));
    expect(ids).not.toEqual(await whole(4));
    expect(ids).not.toEqual(await whole(2));
  });

  it("costs the host less than a millisecond an operation", async () => {
    const times: number[] = [];
    await engine.setBits({ "*": 4 });
    for (let round = 0; round < 6; round++) {
      for (const bits of [3, 2, 4]) {
        const { hostMs, linears } = await engine.setBits({ "layers.0.mlp.down_proj": bits });
        expect(linears).toBe(1);
        times.push(hostMs);
      }
    }
    times.sort((a, b) => a - b);
    expect(times[times.length >> 1]).toBeLessThan(1);
  });

  it("makes no GPU object in the steps after those that follow a change", async () => {
    await engine.setBits({ "self_attn.q_proj": 2 });
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    await decoded(sequence, 4);
    await sequence.prefill(IDS.slice(0, 20));
    const before = { ...engine.gpu.made, bytes: engine.gpuBytes };
    await decoded(sequence, 20);
    expect({ ...engine.gpu.made, bytes: engine.gpuBytes }).toEqual(before);
  });

  it("does calls one after the other, and refuses what cannot be", async () => {
    const [, last] = await Promise.all([engine.setBits({ "*": 2 }), engine.setBits({ "mlp.up_proj": 3 })]);
    expect(last.linears).toBe(tiny.config.L);
    expect(engine.bits["model.layers.0.mlp.gate_proj"]).toBe(2);
    const before = engine.bits;
    const impossible: WidthChoice[] = [{ "mlp.side_proj": 2 }, { "*": 5 }, { "*": 2.5 }, { down_proj: 3, "": 2 }];
    for (const bits of impossible) await expect(engine.setBits(bits)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(engine.bits).toEqual(before);
  });
});

describe("kept columns", () => {
  let model: TinyModel;
  beforeAll(async () => {
    model = await tinyModel("llama", [4, 3, 4, 2], { kept: 8, elastic: true });
  });

  it.each(KINDS)("make up for codes that are cut: $kind", async ({ choice, int8, gate: most }) => {
    const gate = Math.min(most, 0.02); // what is not made up for costs 0.02 and more
    const load = async (averageBits?: number) =>
      Engine.create({ gpu: await requestNodeGpu(), ...model, choice, disabledFeatures: ["shader-f16"], averageBits });
    const engine = await load();
    const sequence = await engine.createSequence({ contextTokens: CONTEXT });
    const before = await logitsOf(sequence);
    expect(klDivergence(before, await referenceLogits({ int8 }, model))).toBeLessThan(gate);
    const choices: WidthChoice[] = [{ "mlp.down_proj": 3 }, { "mlp.down_proj": 2 }, { "layers.1.mlp.down_proj": 3 }];
    for (const bits of choices) {
      await engine.setBits({ "*": 4 });
      await engine.setBits(bits);
      expect(klDivergence(await logitsOf(sequence), await referenceLogits({ bits, int8 }, model))).toBeLessThan(gate);
    }
    await engine.setBits({ "*": 4 });
    expect(await logitsOf(sequence)).toEqual(before);
    engine.dispose();

    const narrow = await load(2.9);
    const logits = await logitsOf(await narrow.createSequence({ contextTokens: CONTEXT }));
    expect(klDivergence(logits, await referenceLogits({ averageBits: 2.9, int8 }, model))).toBeLessThan(gate);
    narrow.dispose();
  });
});

describe("averageBits", () => {
  const load = async (averageBits?: number, choice = { software: false, int8: false }) =>
    Engine.create({ gpu: await requestNodeGpu(), ...tiny, choice, disabledFeatures: ["shader-f16"], averageBits });

  it("leaves away planes until the average fits, like the reference", async () => {
    const whole = await load();
    const most = whole.averageBits!;
    const wholeBytes = whole.weightBytes;
    whole.dispose();
    const averageBits = 2.9;
    const engine = await load(averageBits);
    expect(engine.averageBits).toBeLessThanOrEqual(averageBits);
    expect(engine.averageBits).toBeGreaterThan(averageBits - 0.1);
    expect(engine.weightBytes).toBeLessThan(wholeBytes);
    const sequence = await engine.createSequence({ contextTokens: CONTEXT });
    expect(klDivergence(await logitsOf(sequence), await referenceLogits({ averageBits }))).toBeLessThan(1e-4);
    // What was left away is there for the asking.
    await engine.setBits({ "*": 4 });
    expect(engine.weightBytes).toBe(wholeBytes);
    expect(engine.averageBits).toBeCloseTo(most, 10);
    expect(klDivergence(await logitsOf(sequence), await referenceLogits({}))).toBeLessThan(1e-4);
    engine.dispose();
  });

  it("leaves a model alone that fits", async () => {
    const engine = await load(4.5);
    expect(new Set(Object.values(engine.bits)).size).toBeGreaterThan(0);
    expect(engine.averageBits).toBeCloseTo(tiny.config.quantization!.average_bits, 10);
    engine.dispose();
  });

  it("holds on software adapters too, where it saves no bytes", async () => {
    const engine = await load(2.9, { software: true, int8: true });
    expect(engine.averageBits).toBeLessThanOrEqual(2.9);
    const sequence = await engine.createSequence({ contextTokens: CONTEXT });
    expect(klDivergence(await logitsOf(sequence), await referenceLogits({ averageBits: 2.9, int8: "weights" }))).toBeLessThan(
      0.1,
    );
    engine.dispose();
  });

  it("refuses less than 2 bits everywhere take, and plain weights", async () => {
    await expect(load(2)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { averageBits: 2 } });
    await expect(referenceLogits({ averageBits: 2 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
