import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openAdapters } from "../../runtime/cli/adapter-options";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { type RunReport, run } from "../../runtime/cli/run";
import type { ModelConfig } from "../../runtime/engine/config";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { writePeft } from "../../runtime/formats/peft";
import { randomAdapter } from "../formats/peft-adapter";
import { makeDirectory } from "./model-directory";
import { captured, tinyLlama } from "./text-model";

const IDS = [5, 9, 300, 41];
let config: ModelConfig;
let model: ReferenceModel;
/** Of the adapter, and of a model that holds it as its own. */
let [adapterDirectory, modelDirectory] = ["", ""];

beforeAll(async () => {
  const opened = await openCheckpoint(tinyLlama);
  config = opened.config;
  model = await ReferenceModel.load(opened.checkpoint, config);
  await opened.close();
  const adapter = randomAdapter(config, 1);
  await model.loadAdapter(adapter);
  modelDirectory = makeDirectory({});
  adapterDirectory = path.join(modelDirectory, "adapters", "recovery");
  mkdirSync(adapterDirectory, { recursive: true });
  const { config: peft, weights } = writePeft(adapter, { base: "tiny" });
  writeFileSync(path.join(adapterDirectory, "adapter_config.json"), JSON.stringify(peft));
  writeFileSync(path.join(adapterDirectory, "adapter_model.safetensors"), weights);
});

async function topLogits(...argv: string[]): Promise<RunReport["topLogits"]> {
  const own = ["--model", tinyLlama, "--ids", JSON.stringify(IDS), "--max-tokens", "1", "--reference", "--json"];
  return JSON.parse((await captured(() => run([...own, ...argv]))).stdout).topLogits;
}

describe("run --adapter", () => {
  it("adds it to the linears", async () => {
    const sequence = await model.createSequence();
    await sequence.setAdapters([{ name: "random 1" }]);
    await sequence.prefill(IDS);
    const expected = await sequence.logits();
    const top = await topLogits("--adapter", adapterDirectory);
    for (const [id, logit] of top) expect(logit).toBeCloseTo(expected[id], 4);
    expect(top).not.toEqual(await topLogits());
  });

  it("says what a directory without an adapter lacks", async () => {
    await expect(topLogits("--adapter", modelDirectory)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("adapter_config.json"),
    });
  });
});

describe("a model's own adapter", () => {
  const recovering = (recovery?: string) => ({ ...config, quantization: { recovery } }) as ModelConfig;
  const names = async (options: { adapters: string[]; recovery: boolean }, own?: string) =>
    (await openAdapters(modelDirectory, recovering(own), options)).map(({ name, rank }) => `${name} ${rank}`);

  it("comes first, unless it is told not to, where the model names one", async () => {
    expect(await names({ adapters: [], recovery: true }, "recovery")).toEqual(["recovery 4"]);
    expect(await names({ adapters: [adapterDirectory], recovery: true }, "recovery")).toEqual(["recovery 4", "recovery 4"]);
    expect(await names({ adapters: [], recovery: false }, "recovery")).toEqual([]);
    expect(await names({ adapters: [], recovery: true })).toEqual([]);
  });
});
