import { describe, expect, it } from "vitest";
import { type Evaluation, evaluate, measurePerplexity } from "../../runtime/cli/eval";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
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

describe("measurePerplexity", () => {
  it("is exp of the mean surprise of each window's tokens but its first", async () => {
    const ids = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    const perplexity = await measurePerplexity(await sequenceOf(4), ids, 4);
    // Token by token, each in a sequence of its own.
    let surprise = 0;
    for (const [start, length] of [0, 4].flatMap((start) => [1, 2, 3].map((length) => [start, length]))) {
      const sequence = await sequenceOf(4);
      await sequence.prefill(ids.slice(start, start + length));
      const logits = await sequence.logits();
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      surprise -= Math.log(Math.exp(logits[ids[start + length]]) / total);
    }
    expect(perplexity).toBeCloseTo(Math.exp(surprise / 6), 3);
  });
});

describe("eval --reference", () => {
  it("reads whole windows of the first N tokens and reports sizes", async () => {
    const argv = ["--model", makeTextModel(), "--text", textFile(), "--context", "8", "--tokens", "30", "--reference"];
    const { stdout } = await captured(() => evaluate([...argv, "--json"]));
    const result: Evaluation = JSON.parse(stdout);
    const expected = await measurePerplexity(await sequenceOf(8), idsOf(TEXT).slice(0, 24), 8);
    expect(result.perplexity).toBeCloseTo(expected, 6);
    expect(result).toMatchObject({ tokens: 24, windows: 3, bitsPerWeight: 32 });
    expect(result.bytes).toBe(4 * 171_456);
    const plain = await captured(() => evaluate(argv));
    expect(plain.stdout).toMatch(/^perplexity \d+\.\d{3} over 24 tokens in 3 windows; 32\.00 bits per weight, 0\.7 MiB\n$/);
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
