/** Adapters in the GPU engine against the reference, over every kind of linear; swapping, stacking, weights, and what is left behind. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import type { AdapterUse } from "../../runtime/engine/adapter-basis";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import type { Sequence } from "../../runtime/engine/sequence";
import { randomAdapter } from "../formats/peft-adapter";
import { klDivergence } from "./compare";
import { type TinyModel, tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 90 }, (_, i) => (i * 73 + 11) % 512);
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [] as number[] };

async function decoded(sequence: Sequence, maxTokens: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const batch of sequence.decode({ ...GREEDY, maxTokens, speculate: "never" })) ids.push(...batch);
  return ids;
}

/** As in engine-tiny.test.ts. */
describe.each([
  { software: true, int8: false, gate: 1e-4, decodeGate: 1e-4 },
  { software: true, int8: true, gate: 1e-4, decodeGate: 2e-2 },
  { software: false, int8: false, gate: 1e-4, decodeGate: 1e-4 },
  { software: false, int8: true, gate: 1e-2, decodeGate: 2e-2 },
])("adapters, software mapping $software, int8 $int8", ({ software, int8, gate, decodeGate }) => {
  let tiny: TinyModel;
  let reference: ReferenceModel;
  let decodeReference: ReferenceModel;
  let engine: Engine;
  let sequence: Sequence;
  beforeAll(async () => {
    tiny = await tinyModel("llama");
    const load = (activations: boolean) =>
      ReferenceModel.load(tiny.checkpoint, tiny.config, {
        int8: int8 ? (activations ? "activations too" : "weights") : undefined,
      });
    // On software adapters prefill reads f32.
    reference = await load(!software);
    decodeReference = software ? await load(true) : reference;
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...tiny,
      choice: { software, int8 },
      disabledFeatures: ["shader-f16"],
    });
    sequence = await engine.createSequence({ contextTokens: 128 });
    const wide = randomAdapter(tiny.config, 1, { rank: 16, size: 0.04 });
    const narrow = randomAdapter(tiny.config, 2, {
      rank: 5,
      size: 0.1,
      linears: ["self_attn.v_proj", "mlp.down_proj"],
      layers: [1],
    });
    for (const adapter of [wide, narrow]) {
      for (const model of new Set([reference, decodeReference])) await model.loadAdapter(adapter);
      await engine.loadAdapter(adapter);
    }
  });
  afterAll(() => engine.dispose());

  it.each([
    { name: "one on every linear", uses: [{ name: "random 1" }] },
    { name: "one on some linears, at half its weight", uses: [{ name: "random 2", weight: 0.5 }] },
    { name: "two stacked", uses: [{ name: "random 1" }, { name: "random 2", weight: -1 }] },
  ])("$name: prefill and decode agree with the reference", async ({ uses }) => {
    const logits = async (model: ReferenceModel, uses: AdapterUse[]) => {
      const cpu = await model.createSequence({ contextTokens: 128, kv: { k: 8, v: 8 } });
      await cpu.setAdapters(uses);
      await cpu.prefill(IDS);
      return cpu.logits();
    };
    const expected = await logits(reference, uses);
    const decodeExpected = await logits(decodeReference, uses);
    const change = klDivergence(expected, await logits(reference, []));
    expect(change).toBeGreaterThan(10 * gate);

    await sequence.setAdapters(uses);
    await sequence.prefill(IDS);
    expect(klDivergence(await sequence.logits(), expected)).toBeLessThan(gate);
    sequence.truncate(0);
    await sequence.prefill(IDS, { stepByStep: true });
    expect(klDivergence(await sequence.logits(), decodeExpected)).toBeLessThan(decodeGate);
    sequence.truncate(82);
    await sequence.prefill(IDS.slice(82)); // a few at once
    expect(klDivergence(await sequence.logits(), decodeExpected)).toBeLessThan(decodeGate);
  });

  it("forgets what another adapter computed, and has the base's bits again without one", async () => {
    await sequence.setAdapters([]);
    sequence.truncate(0);
    await sequence.prefill(IDS);
    const base = await sequence.logits();
    const reply = await decoded(sequence, 12);
    await sequence.setAdapters([{ name: "random 1" }]);
    expect(sequence.ids).toEqual([]);
    await sequence.prefill(IDS);
    expect(await sequence.logits()).not.toEqual(base);
    await sequence.setAdapters([]);
    await sequence.prefill(IDS);
    expect(await sequence.logits()).toEqual(base);
    expect(await decoded(sequence, 12)).toEqual(reply);
  });

  it("keeps the cache where nothing changes, and refuses what is not there", async () => {
    await sequence.setAdapters([{ name: "random 1" }]);
    await sequence.prefill(IDS.slice(0, 9));
    await sequence.setAdapters([{ name: "random 1", weight: 1 }]);
    expect(sequence.ids.length).toBe(9);
    await expect(sequence.setAdapters([{ name: "none" }])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(sequence.setAdapters(Array(3).fill({ name: "random 1" }))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(engine.unloadAdapter("random 1")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(engine.loadAdapter(randomAdapter(tiny.config, 1))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const tooWide = { ...randomAdapter(tiny.config, 9, { rank: 65 }), name: "wide" };
    await expect(engine.loadAdapter(tooWide)).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
  });

  it("swaps 200 times while tokens stream, in little time, and leaves nothing behind", async () => {
    await sequence.setAdapters([{ name: "random 2" }]);
    const before = { ...engine.gpu.made, bytes: engine.gpuBytes };
    const lists = [[{ name: "random 1" }], [], [{ name: "random 1" }, { name: "random 2" }], [{ name: "random 2" }]];
    const took: number[] = [];
    const replies = new Map<number, string>();
    for (let i = 0; i < 200; i++) {
      const startedAt = performance.now();
      await sequence.setAdapters(lists[i % lists.length]);
      took.push(performance.now() - startedAt);
      await sequence.prefill(IDS.slice(0, 1));
      if (i % 20 >= lists.length) continue;
      const reply = (await decoded(sequence, 4)).join();
      expect(replies.get(i % lists.length) ?? reply).toBe(reply);
      replies.set(i % lists.length, reply);
    }
    expect({ ...engine.gpu.made, bytes: engine.gpuBytes }).toEqual(before);
    const median = took.sort((a, b) => a - b)[100];
    console.info(`${median.toFixed(3)} ms to swap, ${took[199].toFixed(2)} at most`);
    expect(median).toBeLessThan(5);
  });

  it("moves no adapter when another comes or goes, and gives the room back", async () => {
    await sequence.setAdapters([{ name: "random 2" }]);
    sequence.truncate(0);
    await sequence.prefill(IDS);
    const logits = await sequence.logits();
    const { bytes } = engine.gpu;
    const third = { ...randomAdapter(tiny.config, 3, { rank: 32 }), name: "third" };
    const info = await engine.loadAdapter(third);
    expect(engine.gpuBytes - bytes).toBe(info.bytes);
    expect(engine.adapters.map(({ name }) => name)).toEqual(["random 1", "random 2", "third"]);
    await engine.unloadAdapter("random 1");
    await engine.loadAdapter(randomAdapter(tiny.config, 1, { rank: 16, size: 0.04 }));
    await engine.unloadAdapter("third");
    expect(engine.gpuBytes).toBe(bytes);
    sequence.truncate(0);
    await sequence.prefill(IDS);
    expect(await sequence.logits()).toEqual(logits);
  });

  it("takes at most 16 dispatches a layer while adapters count, 17 in int8, and 7 when they do not", async () => {
    await sequence.setAdapters([{ name: "random 1" }]);
    expect(sequence.dispatchesPerLayer).toBeLessThanOrEqual(int8 ? 17 : 16);
    await sequence.setAdapters([]);
    expect(sequence.dispatchesPerLayer).toBeLessThanOrEqual(7);
  });
});
