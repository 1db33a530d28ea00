/** The CPU model against tiny random checkpoints that transformers ran: plain RoPE with a tied head, and Llama 3's. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ModelConfig, parseConfig } from "../../runtime/engine/config";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { bytesSource } from "../../runtime/formats/byte-source";
import { linearShape } from "../../runtime/formats/check-tensors";
import type { Checkpoint } from "../../runtime/formats/checkpoint";
import { LINEARS } from "../../runtime/formats/palettized";
import { rotateVector } from "../../runtime/formats/rotation";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { palettize } from "../../runtime/palettize/compile";
import { normBefore } from "../../runtime/palettize/fold";

interface TinyGolden {
  input_ids: number[];
  last_logits: number[];
  /** After the embedding and each layer; the last one is that of the final norm's output. */
  residual_l2_last: number[];
  greedy_ids: number[];
  greedy_margin: number[];
}

const folder = (name: string) => new URL(`../golden/tiny/${name}/`, import.meta.url);
const readJson = (file: URL) => JSON.parse(readFileSync(file, "utf8"));

async function openTiny(name: string): Promise<Checkpoint> {
  const weights = bytesSource("model.safetensors", readFileSync(new URL("model.safetensors", folder(name))));
  return openSafetensors(name, [weights], { config: readJson(new URL("config.json", folder(name))) });
}

async function loadTiny(
  name: string,
  options?: Parameters<typeof ReferenceModel.load>[2],
): Promise<{ model: ReferenceModel; golden: TinyGolden }> {
  const checkpoint = await openTiny(name);
  const model = await ReferenceModel.load(checkpoint, parseConfig(checkpoint.files), options);
  return { model, golden: readJson(new URL("golden.json", folder(name))) };
}

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const centred = (x: ArrayLike<number>) => {
    const mean = Array.from(x).reduce((sum, value) => sum + value, 0) / x.length;
    return Array.from(x, (value) => value - mean);
  };
  const [x, y] = [centred(a), centred(b)];
  return x.reduce((sum, value, i) => sum + value * y[i], 0) / (Math.hypot(...x) * Math.hypot(...y));
}

describe.each(["llama", "llama3"])("tiny %s", (name) => {
  it("gives the golden logits and residual norms", async () => {
    const { model, golden } = await loadTiny(name);
    const norms: number[] = [];
    const onStage = (_: string, x: Float32Array) => norms.push(Math.hypot(...x));
    const sequence = await model.createSequence({ onStage });
    await sequence.prefill(golden.input_ids);
    const logits = await sequence.logits();
    expect(logits.length).toBe(model.config.V);
    expect(largestDifference(logits, golden.last_logits)).toBeLessThan(1e-3);
    const stages = [...norms.slice(0, model.config.L), norms[norms.length - 1]];
    expect(largestDifference(stages, golden.residual_l2_last)).toBeLessThan(1e-3);
  });

  it("decodes the golden tokens, greedily", async () => {
    const { model, golden } = await loadTiny(name);
    expect(Math.min(...golden.greedy_margin)).toBeGreaterThan(0.01);
    const sequence = await model.createSequence();
    await sequence.prefill(golden.input_ids);
    const ids: number[] = [];
    for await (const batch of sequence.decode({ maxTokens: golden.greedy_ids.length })) ids.push(...batch);
    expect(ids).toEqual(golden.greedy_ids);
    expect(sequence.ids).toEqual([...golden.input_ids, ...ids.slice(0, -1)]);
  });

  it("gives the same logits however the prompt is cut, and after a truncate", async () => {
    const { model, golden } = await loadTiny(name);
    const sequence = await model.createSequence();
    await sequence.prefill(golden.input_ids.slice(0, 7));
    await sequence.prefill([3, 4, 5]);
    sequence.truncate(7);
    await sequence.prefill(golden.input_ids.slice(7));
    expect(largestDifference(await sequence.logits(), golden.last_logits)).toBeLessThan(1e-3);
  });

  it("gives every position's logits, the last as golden", async () => {
    const { model, golden } = await loadTiny(name);
    const sequence = await model.createSequence();
    const seen: number[] = [];
    let last = new Float32Array(0);
    await sequence.prefillLogits(golden.input_ids, (position, logits) => {
      seen.push(position);
      last = logits.slice();
    });
    expect(seen).toEqual(golden.input_ids.map((_, i) => i));
    expect(largestDifference(last, golden.last_logits)).toBeLessThan(1e-3);
  });

  it("gives the golden logits with sums in f32 too, however the prompt is cut, and not the same bits", async () => {
    const { model, golden } = await loadTiny(name, { fast: true });
    const sequence = await model.createSequence();
    await sequence.prefill(golden.input_ids.slice(0, 3));
    await sequence.prefill(golden.input_ids.slice(3));
    const logits = await sequence.logits();
    expect(largestDifference(logits, golden.last_logits)).toBeLessThan(1e-3);
    const exact = await (await loadTiny(name)).model.createSequence();
    await exact.prefill(golden.input_ids);
    expect(largestDifference(logits, await exact.logits())).toBeGreaterThan(0);
  });

  it("keeps close to the golden logits with an int8 cache, but not equal", async () => {
    const { model, golden } = await loadTiny(name);
    const sequence = await model.createSequence({ kv: { k: 8, v: 8 } });
    await sequence.prefill(golden.input_ids);
    const difference = largestDifference(await sequence.logits(), golden.last_logits);
    expect(difference).toBeGreaterThan(1e-4);
    expect(difference).toBeLessThan(0.5);
  });
});

describe("palettized tiny llama", () => {
  /** Compiled in memory: 4-bit codes, R1 and R2, an int8 table, norms folded. */
  async function palettizeTiny(): Promise<{ checkpoint: Checkpoint; config: ModelConfig }> {
    const plain = await openTiny("llama");
    const files = new Map<string, Uint8Array>();
    const write = async (name: string, bytes: Uint8Array) => void files.set(name, bytes.slice());
    await palettize(plain, parseConfig(plain.files), { sink: { write } });
    const shards = [...files].filter(([name]) => name.endsWith(".safetensors")).map(([name, bytes]) => bytesSource(name, bytes));
    const config = JSON.parse(new TextDecoder().decode(files.get("config.json")));
    const checkpoint = await openSafetensors("palettized", shards, { config });
    return { checkpoint, config: parseConfig({ config }) };
  }

  it("computes in the rotated basis what its weights say in the plain one, and that is near the source", async () => {
    const { checkpoint, config } = await palettizeTiny();
    const { golden } = await loadTiny("llama");
    const model = await ReferenceModel.load(checkpoint, config);
    const logits = await logitsAfter(model, golden.input_ids);

    const { rotation, layers, ...tables } = model.weights;
    const turnedBack = layers.map(({ linears }) => {
      const back = { ...linears };
      for (const linear of LINEARS) {
        const [rows, cols] = linearShape(config, linear);
        const weight = linears[linear].slice();
        if (normBefore(linear)) for (let r = 0; r < rows; r++) rotateVector(rotation!, weight, r * cols, 1, true);
        else for (let c = 0; c < cols; c++) rotateVector(rotation!, weight, c, cols, true);
        back[linear] = weight;
      }
      return { linears: back };
    });
    const plain = await logitsAfter(new ReferenceModel(config, { ...tables, layers: turnedBack }), golden.input_ids);
    expect(largestDifference(logits, plain)).toBeLessThan(1e-3);
    expect(correlation(logits, golden.last_logits)).toBeGreaterThan(0.7);
  });
});

async function logitsAfter(model: ReferenceModel, ids: number[]): Promise<Float32Array> {
  const sequence = await model.createSequence();
  await sequence.prefill(ids);
  return sequence.logits();
}

describe("ReferenceSequence", () => {
  it("refuses ids outside the vocabulary, prompts beyond the context and logits of nothing", async () => {
    const { model } = await loadTiny("llama");
    const sequence = await model.createSequence({ contextTokens: 4 });
    await expect(sequence.logits()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(sequence.prefill([1, 512])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(sequence.prefill([1, 2, 3, 4, 5])).rejects.toMatchObject({ code: "CONTEXT_FULL" });
    expect(sequence.ids).toEqual([]);
  });

  it("stops after a stop id, which it gives, and at the end of the context", async () => {
    const { model, golden } = await loadTiny("llama3");
    const decodeAll = async (contextTokens: number, stopIds: number[]) => {
      const sequence = await model.createSequence({ contextTokens });
      await sequence.prefill(golden.input_ids);
      const ids: number[] = [];
      for await (const batch of sequence.decode({ stopIds })) ids.push(...batch);
      return ids;
    };
    const stop = golden.greedy_ids[4];
    expect(await decodeAll(64, [stop])).toEqual(golden.greedy_ids.slice(0, golden.greedy_ids.indexOf(stop) + 1));
    expect(await decodeAll(45, [])).toEqual(golden.greedy_ids.slice(0, 5));
  });
});
