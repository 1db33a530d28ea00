/**
 * The GPU engine on tiny palettized checkpoints against the CPU reference on the same weights: prefill, decode, both
 * mappings, several chunks, sampling, truncation, stop ids, and what a decode step costs in dispatches and objects.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import type { DecodeOptions } from "../../runtime/engine/decode";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import type { Sequence } from "../../runtime/engine/sequence";
import { klDivergence } from "./compare";
import { type TinyModel, tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 150 }, (_, i) => (i * 73 + 11) % 512);
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [] as number[] };

async function decoded(sequence: Sequence, options: Partial<DecodeOptions> & { maxTokens: number }): Promise<number[]> {
  const ids: number[] = [];
  for await (const batch of sequence.decode({ ...GREEDY, ...options })) ids.push(...batch);
  return ids;
}

/**
 * `gate`: prefill against a reference with the same weights; `decodeGate`: decode against prefill. f16 tiles (where the device
 * has shader-f16) round what prefill stages to 11 bits, int8 kernels round what decode reads to 8, and random models are
 * sensitive to both. (engine-int8.test.ts compares int8 decode with a reference that rounds as it does.)
 */
describe.each([
  { name: "llama", software: true, int8: false, f16: false, gate: 1e-4, decodeGate: 1e-4 },
  { name: "llama", software: true, int8: true, f16: false, gate: 1e-4, decodeGate: 0.1 },
  { name: "llama", software: false, int8: false, f16: false, gate: 1e-4, decodeGate: 1e-4 },
  { name: "llama", software: false, int8: true, f16: false, gate: 3e-2, decodeGate: 1e-2 },
  { name: "llama3", software: false, int8: false, f16: false, gate: 1e-4, decodeGate: 1e-4 },
  { name: "llama", software: false, int8: false, f16: true, gate: 3e-2, decodeGate: 3e-2 },
])("tiny $name, software mapping $software, int8 $int8, f16 $f16", ({ name, software, int8, f16, gate, decodeGate }) => {
  let tiny: TinyModel;
  let reference: ReferenceModel;
  let engine: Engine;
  let sequence: Sequence;

  beforeAll(async () => {
    tiny = await tinyModel(name);
    reference = await ReferenceModel.load(tiny.checkpoint, tiny.config, {
      // On software adapters prefill reads f32.
      int8: int8 ? (software ? "weights" : "activations too") : undefined,
    });
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...tiny,
      choice: { software, int8 },
      disabledFeatures: f16 ? [] : ["shader-f16"],
      contextTokens: 300,
    });
    sequence = await engine.createSequence({ contextTokens: 300 });
  });
  afterAll(() => engine.dispose());

  // First, for replies that guess have what checks guesses compiled beside them.
  it("takes at most 7 dispatches a layer and 6 a token, and makes no GPU object while decoding", async () => {
    expect(sequence.dispatchesPerToken).toBeLessThanOrEqual(7 * tiny.config.L + 6);
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    const before = { ...engine.gpu.made, bytes: engine.gpuBytes };
    for await (const _ of sequence.decode({ ...GREEDY, temperature: 1, topK: 5, maxTokens: 60, speculate: "never" }));
    expect({ ...engine.gpu.made, bytes: engine.gpuBytes }).toEqual(before);
  });

  it("prefills like the reference, at every position", async () => {
    const expected: Float32Array[] = [];
    const cpu = await reference.createSequence({ contextTokens: 300, kv: { k: 8, v: 8 } });
    await cpu.prefillLogits(IDS, (_, logits) => expected.push(logits));
    let worst = 0;
    sequence.truncate(0);
    await sequence.prefillLogits(IDS, (position, logits) => {
      worst = Math.max(worst, klDivergence(logits, expected[position]));
    });
    expect(worst).toBeLessThan(gate);
    expect(sequence.ids).toEqual(IDS);
  });

  it("prefill equals token by token", async () => {
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 70));
    const whole = await sequence.logits();
    sequence.truncate(0);
    for (const id of IDS.slice(0, 70)) await sequence.prefill([id]);
    expect(klDivergence(await sequence.logits(), whole)).toBeLessThan(decodeGate);
  });

  it("decodes greedily what the reference decodes, several steps to a submit", async () => {
    const cpu = await reference.createSequence({ contextTokens: 300, kv: { k: 8, v: 8 } });
    await cpu.prefill(IDS.slice(0, 20));
    const expected: number[] = [];
    for await (const batch of cpu.decode({ temperature: 0, maxTokens: 40 })) expected.push(...batch);
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    const ids = await decoded(sequence, { maxTokens: 40 });
    expect(ids.length).toBe(40);
    // Rounding may tip a choice that nearly ties.
    if (!f16 && !int8) expect(ids).toEqual(expected);
    // All but the last sampled id are cached, so the next prompt can go on from them.
    expect(sequence.ids).toEqual([...IDS.slice(0, 20), ...ids.slice(0, -1)]);
  });

  it("goes on from a truncated cache as if the rest had never been", async () => {
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 25));
    await sequence.prefill(IDS.slice(25, 30));
    const fresh = await decoded(sequence, { maxTokens: 5 });
    sequence.truncate(25);
    await expect(sequence.logits()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await sequence.prefill(IDS.slice(25, 30));
    expect(await decoded(sequence, { maxTokens: 5 })).toEqual(fresh);
  });

  it("stops at a stop id, gives it, and leaves the rest of the submit unused", async () => {
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    const free = await decoded(sequence, { maxTokens: 30 });
    const stop = free[12];
    const end = free.indexOf(stop) + 1;
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    expect(await decoded(sequence, { maxTokens: 30, stopIds: [stop] })).toEqual(free.slice(0, end));
    expect(sequence.ids).toEqual([...IDS.slice(0, 20), ...free.slice(0, end - 1)]);
  });

  it("same seed, same tokens; another seed, others; cuts hold", async () => {
    const sample = async (options: Partial<DecodeOptions>) => {
      sequence.truncate(0);
      await sequence.prefill(IDS.slice(0, 20));
      return decoded(sequence, { maxTokens: 24, ...options });
    };
    const first = await sample({ temperature: 1.5, seed: 1 });
    expect(await sample({ temperature: 1.5, seed: 1 })).toEqual(first);
    expect(await sample({ temperature: 1.5, seed: 2 })).not.toEqual(first);
    const greedy = await sample({});
    expect(await sample({ temperature: 1.5, seed: 3, topK: 1 })).toEqual(greedy);
    expect(await sample({ temperature: 1.5, seed: 3, topP: 1e-9 })).toEqual(greedy);
    expect(await sample({ temperature: 1.5, seed: 3, minP: 1 })).toEqual(greedy);
  });

  it("fills the window and no more", async () => {
    sequence.truncate(0);
    await sequence.prefill(IDS);
    await expect(sequence.prefill(Array(151).fill(1))).rejects.toMatchObject({
      code: "CONTEXT_FULL",
      details: { requested: 301, quota: 300 },
    });
    await sequence.prefill(Array(145).fill(1));
    expect((await decoded(sequence, { maxTokens: 100 })).length).toBe(5);
  });

  it("refuses ids outside the vocabulary and sampling from nothing", async () => {
    sequence.truncate(0);
    await expect(sequence.prefill([512])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(sequence.prefill([-1])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(decoded(sequence, { maxTokens: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    // After a reply the logits on the GPU are not those of the last cached id, and appending nothing does not make them so.
    await sequence.prefill(IDS.slice(0, 5));
    await decoded(sequence, { maxTokens: 4 });
    await sequence.prefill([]);
    await expect(decoded(sequence, { maxTokens: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("aborts between submits with the signal's reason and keeps what was computed", async () => {
    sequence.truncate(0);
    await sequence.prefill(IDS.slice(0, 20));
    const abort = new AbortController();
    const ids: number[] = [];
    const reason = new Error("enough");
    const run = async () => {
      for await (const batch of sequence.decode({ ...GREEDY, maxTokens: 200, signal: abort.signal })) {
        ids.push(...batch);
        if (ids.length >= 3) abort.abort(reason);
      }
    };
    await expect(run()).rejects.toBe(reason);
    expect(sequence.ids).toEqual([...IDS.slice(0, 20), ...ids.slice(0, -1)]);
    await expect(sequence.prefill(IDS.slice(0, 5), { signal: abort.signal })).rejects.toBe(reason);
  });

  it("gives every byte back", async () => {
    const before = engine.gpuBytes;
    const other = await engine.createSequence({ contextTokens: 64 });
    expect(engine.gpuBytes).toBeGreaterThan(before + other.kvBytes);
    other.dispose();
    expect(engine.gpuBytes).toBe(before);
    await expect(other.prefill([1])).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
