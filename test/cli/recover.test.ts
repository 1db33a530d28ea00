/** `ochre recover` on the tiny llama: what it writes, that it helps, and that it goes on where it stopped. */
import { cpSync, existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { palettize } from "../../runtime/cli/palettize";
import { recover } from "../../runtime/cli/recover";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { loadDenseWeights } from "../../runtime/engine/reference/weights";
import { bytesSource } from "../../runtime/formats/byte-source";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { readPeft } from "../../runtime/formats/peft";
import { rotateAdapter } from "../../runtime/formats/rotate-adapter";
import { foldRotations } from "../../runtime/palettize/fold";
import { Tokenizer } from "../../runtime/text/tokenizer";
import { makeDirectory } from "./model-directory";
import { captured, makeTextModel, tinyLlama } from "./text-model";

/** One window to train on and one held out. */
const TEXT = Array.from({ length: 512 }, (_, i) => "etaoinshrdlucmf ".charAt((i * i * 7 + (i >> 3)) % 16)).join("");

let source: string;
let compiled: string;
let folder: string;
const at = (name: string) => path.join(folder, name);
const adapter = (name: string) => at(`model/adapters/recovery/${name}`);
const run = (...argv: string[]) =>
  captured(() => recover([at("model"), "--source", source, "--calibrate", at("text.txt"), "--rank", "4", ...argv]));

beforeAll(async () => {
  source = makeTextModel();
  compiled = makeDirectory({});
  const choose = ["--average-bits", "2.7", "--widths", "2,3", "--probe-tokens", "64"];
  await captured(() => palettize([source, "--out", path.join(compiled, "model"), ...choose]));
}, 120_000);
beforeEach(() => {
  folder = makeDirectory({ "text.txt": TEXT });
  cpSync(compiled, folder, { recursive: true });
});

/** The three numbers of the report: KL without the adapter, before training and after. */
function divergences(stdout: string): number[] {
  const found = /KL ([\d.]+) without it, ([\d.]+) before training, ([\d.]+) after/.exec(stdout);
  return found!.slice(1).map(Number);
}

/** KL on the held window by the reference model, of the source and of the palettized model with the adapter that was written. */
async function measured(): Promise<number> {
  const [opened, model] = [await openCheckpoint(source), await openCheckpoint(at("model"))];
  const { config } = model;
  const norms = new Map<string, Float32Array>();
  for (const name of opened.checkpoint.tensors.keys())
    if (/layernorm/.test(name)) norms.set(name, await opened.checkpoint.read(name));
  const files = {
    config: JSON.parse(readFileSync(adapter("adapter_config.json"), "utf8")),
    weights: bytesSource("adapter", readFileSync(adapter("adapter_model.safetensors"))),
  };
  const read = await readPeft("recovery", files, config);
  const rotated = rotateAdapter(read, config, norms, foldRotations(config.quantization!.rotation));
  const weights = await loadDenseWeights(model.checkpoint, config);
  for (const [layer, { linears }] of weights.layers.entries()) {
    for (const linear of LINEARS) {
      const { rank, a, b } = rotated.linears.get(linearTensor(layer, linear))!;
      const cols = a.length / rank;
      linears[linear] = linears[linear].map((value, i) => {
        let sum = value;
        for (let k = 0; k < rank; k++) sum += rotated.scale * b[Math.floor(i / cols) * rank + k] * a[k * cols + (i % cols)];
        return sum;
      });
    }
  }
  const { tokenizer, tokenizerConfig } = opened.checkpoint.files;
  const ids = Tokenizer.create(tokenizer!, tokenizerConfig).encode(TEXT).slice(256, 512);
  const wanted = await predictions(await ReferenceModel.load(opened.checkpoint, opened.config), ids);
  const told = await predictions(new ReferenceModel(config, weights), ids);
  await Promise.all([opened.close(), model.close()]);
  const each = wanted.map((row, t) => row.reduce((sum, p, v) => sum + Math.exp(p) * (p - told[t][v]), 0));
  return each.reduce((sum, kl) => sum + kl, 0) / each.length;
}

async function predictions(model: ReferenceModel, ids: number[]): Promise<Float32Array[]> {
  const all: Float32Array[] = [];
  const sequence = await model.createSequence();
  await sequence.prefillLogits(ids, (_, logits) => {
    const max = Math.max(...logits);
    const shift = max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
    all.push(logits.map((logit) => logit - shift));
  });
  return all;
}

describe("ochre recover", { timeout: 120_000 }, () => {
  it("comes nearer to the source in closed form, and nearer still with training, on text that it was not trained on", async () => {
    const { stdout } = await run("--steps", "12");
    const [without, before, after] = divergences(stdout);
    expect(before).toBeLessThan(0.8 * without);
    expect(after).toBeLessThan(before);
    const config = JSON.parse(readFileSync(adapter("adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ peft_type: "LORA", r: 4, lora_alpha: 4 });
    expect(existsSync(at("model/adapters/recovery.training"))).toBe(false);
    expect((await measured()) / after).toBeCloseTo(1, 2);
  });

  it("writes the same bytes for the same seed, and leaves it to --default to load them", async () => {
    const recovery = () => JSON.parse(readFileSync(at("model/config.json"), "utf8")).quantization_config.recovery;
    await run("--steps", "2");
    const first = readFileSync(adapter("adapter_model.safetensors"));
    expect(recovery()).toBeUndefined();
    await run("--steps", "2", "--default");
    expect(readFileSync(adapter("adapter_model.safetensors"))).toEqual(first);
    expect(recovery()).toBe("recovery");
  });

  it("interrupted, goes on to the same bytes, and never with other options", async () => {
    await run("--steps", "4");
    const whole = readFileSync(adapter("adapter_model.safetensors"));
    const interrupted = run("--steps", "4");
    const failed = expect(interrupted).rejects.toThrow(/interrupted; what is trained is in .*recovery/);
    const stop = setInterval(() => process.emit("SIGINT"), 300);
    await failed;
    clearInterval(stop);
    if (existsSync(at("model/adapters/recovery.training")))
      await expect(run("--steps", "9")).rejects.toThrow(/another source, model, text or set of/);
    await run("--steps", "4");
    expect(readFileSync(adapter("adapter_model.safetensors"))).toEqual(whole);
  });

  it.each([
    [["--rank", "0"], /--rank must be a whole number, 1 to 1024, but is "0"/],
    [["--steps", "3", "--minutes", "1"], /--minutes leaves nothing for --steps to say/],
    [["--tokens", "1"], /--tokens must be/],
  ])("refuses %j", async (argv, message) => {
    await expect(run(...argv)).rejects.toThrow(message);
  });

  it("refuses a source that is no such model's, and a model that is not palettized", async () => {
    const calibrate = ["--calibrate", at("text.txt")];
    await expect(recover([source, "--source", source, ...calibrate])).rejects.toThrow(
      /must be palettized but is a plain checkpoint/,
    );
    await expect(recover([at("model"), "--source", at("model"), ...calibrate])).rejects.toThrow(/is palettized already/);
    await expect(recover([at("model"), "--source", tinyLlama, ...calibrate])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(recover([at("model"), "--source", source])).rejects.toThrow(/needs --calibrate/);
    expect(existsSync(at("model/adapters"))).toBe(false);
  });
});
