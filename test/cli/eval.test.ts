import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Evaluation, evaluate } from "../../runtime/cli/eval";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { score } from "../../runtime/engine/evaluation";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { makeDirectory } from "./model-directory";
import { captured, LETTER_A, makeTextModel, tinyLlama } from "./text-model";

async function sequenceOf(contextTokens: number) {
  const { checkpoint, config, close } = await openCheckpoint(tinyLlama);
  const model = await ReferenceModel.load(checkpoint, config);
  await close();
  return model.createSequence({ contextTokens });
}

const TEXT = "the quick brown fox jumps over the lazy dog";
const textFile = () => `${makeDirectory({ "text.txt": TEXT })}/text.txt`;
const idsOf = (text: string) => Array.from(text, (c) => (c === " " ? LETTER_A + 26 : LETTER_A + c.charCodeAt(0) - 97));

describe("eval", () => {
  const read = ["--text", textFile(), "--context", "8", "--tokens", "30"];

  it("reads whole windows of the first N tokens of every text, and reports sizes and what computed", async () => {
    const folder = makeDirectory({ "second.txt": "pack my box with five dozen liquor jugs" });
    const argv = ["--model", makeTextModel(), ...read, "--text", `${folder}/second.txt`, "--reference"];
    const { stdout } = await captured(() => evaluate([...argv, "--json", "--out", `${folder}/scores.json`]));
    const result: Evaluation = JSON.parse(stdout);
    expect(JSON.parse(readFileSync(`${folder}/scores.json`, "utf8"))).toEqual(result);
    const expected = await score(await sequenceOf(8), idsOf(TEXT).slice(0, 24), { context: 8 });
    expect(result.texts.map(({ name }) => name)).toEqual(["text.txt", "second.txt"]);
    expect(result.texts[0]).toEqual({
      name: "text.txt",
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      tokens: 24,
      ...expected,
    });
    expect(result.texts[0].scored).toBe(21);
    expect(result).toMatchObject({ context: 8, bitsPerWeight: 32, bytes: 4 * 171_456 });
    expect(result.runs).toEqual({ model: "the CPU, sums in f64, keys and values in f32" });
    const plain = await captured(() => evaluate(argv));
    expect(plain.stdout).toMatch(
      /^text.txt: perplexity \d+\.\d{3} over 24 tokens in 3 windows\nsecond.txt: .*\n.*32\.00 bits .* 0\.7 MiB/,
    );
  });

  it("--cpu computes in f32, and --source compares: a model with itself is the same", async () => {
    const model = makeTextModel();
    const { stdout } = await captured(() => evaluate(["--model", model, "--source", model, ...read, "--cpu", "--json"]));
    const { texts, runs }: Evaluation = JSON.parse(stdout);
    const exact = await score(await sequenceOf(8), idsOf(TEXT).slice(0, 24), { context: 8 });
    expect(texts[0].perplexity / exact.perplexity).toBeCloseTo(1, 5);
    expect(texts[0].perplexity).not.toBe(exact.perplexity);
    expect(texts[0].source).toEqual({ perplexity: texts[0].perplexity, topAgreement: 1, kl: 0 });
    expect(runs.source).toBe("the CPU, sums in f32, keys and values in f32");
    const coarse = await captured(() =>
      evaluate(["--model", model, "--source", model, ...read, "--cpu", "--kv", "int4", "--json"]),
    );
    expect(JSON.parse(coarse.stdout).texts[0].source.kl).toBeGreaterThan(0);
  });

  it("refuses a source with other tokens, two ways to compute, no text, and a cache that the GPU has not", async () => {
    const model = makeTextModel();
    const other = makeTextModel();
    const tokenizer = JSON.parse(readFileSync(`${other}/tokenizer.json`, "utf8"));
    [tokenizer.model.vocab.q, tokenizer.model.vocab.t] = [tokenizer.model.vocab.t, tokenizer.model.vocab.q];
    writeFileSync(`${other}/tokenizer.json`, JSON.stringify(tokenizer));
    const refused = (...argv: string[]) => expect(evaluate(["--model", model, ...argv])).rejects;
    await refused(...read, "--source", other).toMatchObject({
      message: expect.stringContaining("must read these texts as the tokens of"),
    });
    await refused(...read, "--cpu", "--reference").toMatchObject({ message: expect.stringContaining("give one of them") });
    await refused("--cpu").toMatchObject({ message: "[eval] needs --text." });
    await refused(...read, "--kv", "f32").toMatchObject({ message: expect.stringContaining("on the CPU only") });
    await refused("--cpu", "--text", "nowhere.txt").toMatchObject({
      message: expect.stringContaining("cannot be read (ENOENT)"),
    });
  });

  it("refuses what --int8 cannot be, a text shorter than a window, and a model without a tokenizer", async () => {
    await expect(evaluate(["--model", makeTextModel(), "--text", textFile(), "--int8", "yes"])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: '[eval] --int8 must be on or off but is "yes".',
    });
    const short = ["--text", textFile(), "--context", "64", "--reference"];
    await expect(evaluate(["--model", makeTextModel(), ...short])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("64 tokens but has 43"),
    });
    await expect(evaluate(["--model", tinyLlama, ...short])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
