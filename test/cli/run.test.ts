import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type RunReport, run } from "../../runtime/cli/run";
import { captured, LETTER_A, makeTextModel, tinyLlama } from "./text-model";

const golden: { input_ids: number[]; greedy_ids: number[]; last_logits: number[] } = JSON.parse(
  readFileSync(`${tinyLlama}golden.json`, "utf8"),
);

async function report(...argv: string[]): Promise<RunReport> {
  const { stdout, stderr } = await captured(() => run([...argv, "--reference", "--json"]));
  expect(stderr).toEqual([]);
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(stdout);
}

const goldenPrompt = ["--model", tinyLlama, "--ids", JSON.stringify(golden.input_ids)];

describe("run --reference", () => {
  it("continues ids without a tokenizer, and reports the prompt's largest logits", async () => {
    const { promptIds, ids, text, topLogits, metrics } = await report(...goldenPrompt, "--max-tokens", "24");
    expect(promptIds).toEqual(golden.input_ids);
    expect(ids).toEqual(golden.greedy_ids);
    expect(text).toBe("");
    const order = golden.last_logits.map((_, id) => id).sort((a, b) => golden.last_logits[b] - golden.last_logits[a]);
    expect(topLogits.map(([id]) => id)).toEqual(order.slice(0, 20));
    expect(topLogits[0][1]).toBeCloseTo(golden.last_logits[order[0]], 3);
    expect(metrics).toMatchObject({ promptTokens: 40, cachedTokens: 0, generatedTokens: 24 });
    expect(metrics.ttftMs).toBeGreaterThan(0);
  });

  it("draws the same text from the same seed, another from another", async () => {
    const drawn = async (seed: string) => {
      const sampling = ["--temperature", "2", "--top-k", "50", "--top-p", "0.9", "--min-p", "0.01", "--seed", seed];
      return (await report(...goldenPrompt, ...sampling, "--max-tokens", "12")).ids;
    };
    const first = await drawn("1");
    expect(await drawn("1")).toEqual(first);
    expect(await drawn("2")).not.toEqual(first);
  });

  it("encodes a prompt as it is, or inside the chat template", async () => {
    const model = makeTextModel();
    const letters = [LETTER_A, LETTER_A + 1];
    const asItIs = await report("--model", model, "--prompt", "ab", "--max-tokens", "1");
    expect(asItIs.promptIds).toEqual(letters);
    const chat = await report("--model", model, "--prompt", "ab", "--chat", "--max-tokens", "1");
    expect(chat.promptIds).toEqual([1, ...letters, 2, 1]);
  });

  it("streams the text of what it generates", async () => {
    const argv = ["--model", makeTextModel(), "--prompt", "the cat", "--max-tokens", "200", "--temperature", "3", "--seed", "5"];
    const { text, ids } = await report(...argv);
    const letters = ids.filter((id) => id >= LETTER_A && id < LETTER_A + 26);
    expect(text.replaceAll(" ", "")).toBe(letters.map((id) => String.fromCharCode(97 + id - LETTER_A)).join(""));
    const streamed = await captured(() => run([...argv, "--reference"]));
    expect(streamed.stdout).toBe(text);
    expect(streamed.stderr.join("")).toContain(`${ids.length} generated`);
  });

  it("stops after an eos id, which it reports", async () => {
    const argv = [...goldenPrompt, "--temperature", "100", "--max-tokens", "400", "--seed", "3"];
    const { ids } = await report(...argv);
    expect(ids.indexOf(2)).toBe(ids.length - 1);
  });

  it.each([
    [["--model", tinyLlama], "either --prompt"],
    [["--model", tinyLlama, "--ids", "[1]", "--prompt", "a"], "either --prompt"],
    [["--model", tinyLlama, "--ids", "[1]", "--chat"], "either --prompt"],
    [["--ids", "[1]"], "needs --model"],
    [["--model", tinyLlama, "--ids", "[]"], "JSON list"],
    [["--model", tinyLlama, "--ids", "1, 2"], "JSON list"],
    [["--model", tinyLlama, "--ids", "[512]"], "ids must be 0 to 511"],
    [["--model", tinyLlama, "--prompt", "a"], "tokenizer.json"],
    [["--model", tinyLlama, "--ids", "[1]", "--top-p", "1.5"], "--top-p must be a number, 0 to 1"],
    [["--model", tinyLlama, "--ids", "[1]", "--max-tokens", "none"], "--max-tokens must be a whole number, 1 or more"],
  ])("refuses %j", async (argv, message) => {
    await expect(run([...argv, "--reference"])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
  });

  it("refuses a prompt that fills the context", async () => {
    const ids = JSON.stringify(new Array(512).fill(1));
    await expect(run(["--model", tinyLlama, "--ids", ids, "--reference"])).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  });
});
