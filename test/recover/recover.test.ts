import { describe, expect, it } from "vitest";
import { parseConfig } from "../../runtime/engine/config";
import { bytesSource } from "../../runtime/formats/byte-source";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { palettize } from "../../runtime/palettize/compile";
import type { Training } from "../../runtime/recover/distill";
import { type RecoverOptions, recover } from "../../runtime/recover/recover";
import { tinyCheckpoint, tinyConfig } from "../palettize/checkpoint";

const config = tinyConfig({ H: 4, G: 2, d: 8, D: 32, F: 48, contextTokens: 1024 });
const { checkpoint, tensors } = tinyCheckpoint(config, 3);
// Logits of a random model are far too certain to move smoothly.
tensors.get("model.norm.weight")!.values.forEach((value, i, all) => {
  all[i] = 0.2 * value;
});
const ids = Array.from({ length: 600 }, (_, i) => (i * i * 7 + (i >> 3)) % config.V);

async function palettized() {
  const written = new Map<string, Uint8Array>();
  const sink = { write: async (file: string, bytes: Uint8Array) => void written.set(file, bytes.slice()) };
  await palettize(checkpoint, config, { sink, probeTokens: 0 });
  const json = (file: string) => JSON.parse(new TextDecoder().decode(written.get(file)));
  const files = { config: json("config.json") };
  const { shards } = parseShardIndex(json("model.safetensors.index.json"));
  const sources = shards.map(({ name }) => bytesSource(name, written.get(name)!));
  return { config: parseConfig(files), checkpoint: await openSafetensors("palettized", sources, files) };
}

const model = await palettized();
const run = (options: Partial<RecoverOptions>) =>
  recover(
    checkpoint,
    model.checkpoint,
    { source: config, model: model.config },
    { name: "r", ids, rank: 2, seed: 1, steps: 6, rate: 3e-3, ...options },
  );

describe("recover", { timeout: 60_000 }, () => {
  it("stopped and gone on with is as if it had never stopped", async () => {
    const whole = await run({});
    expect(whole.kl.before).toBeLessThan(whole.kl.without);
    expect(whole.kl.after).toBeLessThan(whole.kl.before);

    const controller = new AbortController();
    let latest: Training | undefined;
    const onTraining = async (training: Training) => {
      latest = training;
      if (training.adam.step === 2) controller.abort("enough");
    };
    await expect(run({ onTraining, signal: controller.signal })).rejects.toBe("enough");
    const rest = await run({ training: latest });
    expect(rest.training.adam.step).toBe(6);
    expect(rest.adapter).toEqual(whole.adapter);
  });

  it("keeps the closed form where training makes it worse", async () => {
    const spoilt = await run({ steps: 2, rate: 10 });
    expect(spoilt.kl.after).toBeGreaterThan(spoilt.kl.before);
    expect(spoilt.adapter).toEqual((await run({ steps: 0 })).adapter);
  });

  it("spans a text that is shorter than a window, and needs two tokens", async () => {
    const { adapter, kl } = await run({ ids: ids.slice(0, 9), steps: 0 });
    expect(adapter.linears.size).toBe(14);
    expect(kl.after).toBe(kl.before);
    await expect(run({ ids: ids.slice(0, 1) })).rejects.toThrow("must hold 2 tokens or more but has 1");
  });
});
