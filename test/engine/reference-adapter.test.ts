/** Adapters in the CPU model, against what PyTorch with PEFT computed from the sample model. Takes about 15 seconds of one core. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { bytesSource } from "../../runtime/formats/byte-source";
import { readPeft } from "../../runtime/formats/peft";

const file = (name: string) => readFileSync(new URL(`../golden/lora_a/${name}`, import.meta.url));
const golden: {
  ids: number[];
  top20_ids: number[];
  top20_logits: number[];
  base_top5_logits: number[];
  logits_mean: number;
  greedy_ids: number[];
  greedy_margin: number[];
} = JSON.parse(file("golden.json").toString());
const GGUF = fileURLToPath(new URL("../../.cache/SmolLM2-135M-Instruct.Q4_1.gguf", import.meta.url));

describe("lora_a on the sample model, weights rounded to f16", () => {
  let model: ReferenceModel;
  beforeAll(async () => {
    if (!existsSync(GGUF)) throw new Error(`this test needs ${GGUF}: remove models/smollm2-135m-instruct and run npm run model.`);
    const { checkpoint, config, close } = await openCheckpoint(GGUF);
    try {
      model = await ReferenceModel.load(checkpoint, config, { roundToF16: true });
      const weights = bytesSource("adapter_model.safetensors", Uint8Array.from(file("adapter_model.safetensors")));
      await model.loadAdapter(
        await readPeft("lora_a", { config: JSON.parse(file("adapter_config.json").toString()), weights }, config),
      );
    } finally {
      await close();
    }
  }, 120_000);

  it("has PEFT's logits with it, and the base's before and after", async () => {
    const sequence = await model.createSequence({ contextTokens: 64 });
    const logits = async () => {
      await sequence.prefill(golden.ids);
      return sequence.logits();
    };
    const base = await logits();
    const top = [...base].sort((a, b) => b - a).slice(0, 5);
    for (const [i, logit] of golden.base_top5_logits.entries()) expect(Math.abs(top[i] - logit)).toBeLessThan(2e-3);

    await sequence.setAdapters([{ name: "lora_a" }]);
    const adapted = await logits();
    const order = Array.from(adapted.keys()).sort((a, b) => adapted[b] - adapted[a]);
    expect(order.slice(0, 20)).toEqual(golden.top20_ids);
    for (const [i, id] of golden.top20_ids.entries()) {
      expect(Math.abs(adapted[id] - golden.top20_logits[i]), `token ${id}`).toBeLessThan(2e-3);
    }
    expect(adapted.reduce((sum, logit) => sum + logit, 0) / adapted.length).toBeCloseTo(golden.logits_mean, 3);

    await sequence.setAdapters([]);
    expect(await logits()).toEqual(base);
  });

  it("decodes PEFT's tokens, greedily", async () => {
    const sequence = await model.createSequence({ contextTokens: 64 });
    await sequence.setAdapters([{ name: "lora_a" }]);
    await sequence.prefill(golden.ids);
    const ids: number[] = [];
    for await (const batch of sequence.decode({ maxTokens: golden.greedy_ids.length })) ids.push(...batch);
    expect(ids).toEqual(golden.greedy_ids);
  });
});
