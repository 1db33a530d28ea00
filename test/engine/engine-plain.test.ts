/**
 * The GPU engine on checkpoints that are not palettized, as transformers ran them: f32 weights, norms folded, no rotation, so
 * that everything but the int8 cache is exact. Without shader-f16, in which prefill's attention stages its tiles.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { type OpenCheckpoint, openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { run } from "../../runtime/cli/run";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import type { Sequence } from "../../runtime/engine/sequence";
import { loadWeights } from "../../runtime/engine/weights";
import type { Checkpoint } from "../../runtime/formats/checkpoint";
import { Gpu } from "../../runtime/gpu/device";
import { captured } from "../cli/text-model";
import { DictatedCache, klDivergence } from "./compare";

interface TinyGolden {
  input_ids: number[];
  last_logits: number[];
  greedy_ids: number[];
  greedy_margin: number[];
}

const folder = (name: string) => fileURLToPath(new URL(`../golden/tiny/${name}`, import.meta.url));
const readGolden = (name: string): TinyGolden => JSON.parse(readFileSync(`${folder(name)}/golden.json`, "utf8"));
const CONTEXT = 160;

/** Largest magnitude; NaN where there is one, which fails every gate. */
const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

describe.each([
  { name: "llama", software: true },
  { name: "llama", software: false },
  { name: "llama3", software: true },
  { name: "llama3", software: false },
])("plain tiny $name, software mapping $software", ({ name, software }) => {
  const golden = readGolden(name);
  let opened: OpenCheckpoint;
  let reference: ReferenceModel;
  let engine: Engine;
  let sequence: Sequence;

  beforeAll(async () => {
    opened = await openCheckpoint(folder(name));
    reference = await ReferenceModel.load(opened.checkpoint, opened.config);
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...opened,
      choice: { software },
      disabledFeatures: ["shader-f16"],
      contextTokens: CONTEXT,
    });
    sequence = await engine.createSequence({ contextTokens: CONTEXT });
  });
  afterAll(async () => {
    engine.dispose();
    await opened.close();
  });

  /**
   * The reference's logits at every position of `ids`, from the int8 codes that the GPU has in its cache: a code that rounds to
   * its neighbour would else count as an error of whatever reads it.
   */
  async function fromSameCodes(ids: readonly number[]): Promise<Float32Array[]> {
    const { L, G, d } = opened.config;
    const caches: DictatedCache[] = [];
    for (let layer = 0; layer < L; layer++) caches.push(new DictatedCache(G, d, CONTEXT, await sequence.readCache(layer)));
    const cpu = await reference.createSequence({ contextTokens: CONTEXT, makeCache: (layer) => caches[layer] });
    const logits: Float32Array[] = [];
    await cpu.prefillLogits(ids, (_, row) => logits.push(row));
    for (const { seen } of caches) {
      expect(seen.codes).toBe(2 * ids.length * G * d);
      expect(seen.differing / seen.codes).toBeLessThan(1e-3);
      expect(seen.mostSteps).toBeLessThan(1.01);
    }
    return logits;
  }

  it("gives transformers' logits, but for what the int8 cache rounds away", async () => {
    const { input_ids, last_logits } = golden;
    sequence.truncate(0);
    await sequence.prefill(input_ids);
    const logits = await sequence.logits();
    const int8 = (await fromSameCodes(input_ids))[input_ids.length - 1];
    const cpu = await reference.createSequence({ contextTokens: CONTEXT, kv: "f32" });
    await cpu.prefill(input_ids);
    const f32 = await cpu.logits();
    // Codes of 8 bits move these logits by up to 0.4 (llama) and 0.07 (llama3): what that does on the CPU is taken off. All the
    // rest is f32 on both sides, of logits up to 24.
    expect(largest(logits.map((value, id) => value - int8[id]))).toBeLessThan(1e-4);
    const exact = logits.map((value, id) => value - (int8[id] - f32[id]));
    expect(largest(exact.map((value, id) => value - last_logits[id]))).toBeLessThan(1e-4);
  });

  it("decodes transformers' greedy ids: every margin is wider than the cache's rounding is likely to be", async () => {
    expect(Math.min(...golden.greedy_margin)).toBeGreaterThan(0.05);
    sequence.truncate(0);
    await sequence.prefill(golden.input_ids);
    const ids: number[] = [];
    const options = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], maxTokens: golden.greedy_ids.length };
    for await (const batch of sequence.decode(options)) ids.push(...batch);
    expect(ids).toEqual(golden.greedy_ids);
  });

  it("equals the reference at every position, in prefill steps and in decode", async () => {
    const ids = Array.from({ length: 150 }, (_, i) => (i * 73 + 11) % 512);
    const actual: Float32Array[] = [];
    sequence.truncate(0);
    await sequence.prefillLogits(ids.slice(0, 140), (_, logits) => actual.push(logits));
    for (const id of ids.slice(140)) {
      await sequence.prefill([id]);
      actual.push(await sequence.logits());
    }
    const divergences = (await fromSameCodes(ids)).map((expected, position) => klDivergence(actual[position], expected));
    expect(divergences.length).toBe(150);
    expect(largest(divergences)).toBeLessThan(1e-7);
  });
});

it("is what `ochre run --model CHECKPOINT` computes with", async () => {
  const { input_ids, greedy_ids } = readGolden("llama");
  const argv = ["--model", folder("llama"), "--ids", JSON.stringify(input_ids), "--max-tokens", "6", "--json"];
  const { stdout } = await captured(() => run(argv));
  expect(JSON.parse(stdout).ids).toEqual(greedy_ids.slice(0, 6));
});

describe("loading plain weights", () => {
  let opened: OpenCheckpoint;
  let gpu: Gpu;
  beforeAll(async () => {
    opened = await openCheckpoint(folder("llama"));
    gpu = await Gpu.request(await requestNodeGpu());
  });
  afterAll(async () => {
    gpu.destroy();
    await opened.close();
  });

  it.each(["model.layers.2.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight", "model.norm.weight"])(
    "refuses %s with a value that is not finite, by name",
    async (name) => {
      const damaged: Checkpoint = {
        ...opened.checkpoint,
        async read(tensor) {
          const values = await opened.checkpoint.read(tensor);
          return tensor === name ? values.map((value, i) => (i === 9 ? Number.NaN : value)) : values;
        },
      };
      const loading = loadWeights(gpu, opened.config, damaged);
      await expect(loading).rejects.toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining(`"${name}"`) });
    },
  );

  it("refuses tensors that are not what config.json says", async () => {
    const loading = loadWeights(gpu, { ...opened.config, F: opened.config.F + 16 }, opened.checkpoint);
    await expect(loading).rejects.toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining("gate_proj") });
  });

  it("refuses a table that no buffer of the device can hold, before it reads anything", async () => {
    const V = Math.ceil(gpu.device.limits.maxStorageBufferBindingSize / (4 * opened.config.D)) + 4;
    const embedding = { ...opened.checkpoint.tensors.get("model.embed_tokens.weight")!, shape: [V, opened.config.D] };
    const tensors = new Map(opened.checkpoint.tensors).set(embedding.name, embedding);
    const read = () => Promise.reject(new Error("read"));
    const loading = loadWeights(gpu, { ...opened.config, V }, { ...opened.checkpoint, tensors, read });
    await expect(loading).rejects.toMatchObject({ code: "GPU_MEMORY", details: { bytes: 16 * V * 4 * 4 } });
  });

  it("counts its bytes, says how far it is and stops on abort", async () => {
    const { config, checkpoint } = opened;
    const shares: number[] = [];
    const before = gpu.bytes;
    const weights = await loadWeights(gpu, config, checkpoint, { onProgress: (done, all) => shares.push(done / all) });
    expect(weights.bytes).toBe(gpu.bytes - before);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares[shares.length - 1]).toBe(1);

    const abort = new AbortController();
    const reason = new Error("enough");
    const onProgress = (done: number, all: number) => {
      if (done > all / 2) abort.abort(reason);
    };
    await expect(loadWeights(gpu, config, checkpoint, { onProgress, signal: abort.signal })).rejects.toBe(reason);
  });
});
