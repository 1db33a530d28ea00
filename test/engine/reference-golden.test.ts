/**
 * The CPU model against what transformers computed with the sample model, SmolLM2-135M-Instruct: logits, the residual
 * stream after every layer, greedy tokens, chats, and the compiler's folds. Takes about 45 seconds of one core.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { ReferenceModel, type ReferenceSequenceOptions } from "../../runtime/engine/reference/model";
import { LINEARS } from "../../runtime/formats/palettized";
import { makeRotation, rotationSpec } from "../../runtime/formats/rotation";
import { foldLinear, normBefore } from "../../runtime/palettize/fold";

interface Prompt {
  name: string;
  ids: number[];
  top20_ids: number[];
  top20_logits: number[];
  logsumexp: number;
  /** "embed", "layer0_out" …, "final_norm", and of each the last token's L2 norm and first 8 values. */
  stages: string[];
  l2: number[];
  first8: number[][];
  greedy48_ids: number[];
  greedy_margin: number[];
}
interface Golden {
  prompts: Prompt[];
  chats: { user: string; ids: number[]; greedy_ids: number[] }[];
}

const golden: Golden = JSON.parse(readFileSync(new URL("../golden/golden_logits.json", import.meta.url), "utf8"));
const [short, t64] = golden.prompts;
const shortLogits = new Float32Array(
  Uint8Array.from(readFileSync(new URL("../golden/final_logits_short.f32", import.meta.url))).buffer,
);

const GGUF = fileURLToPath(new URL("../../.cache/SmolLM2-135M-Instruct.Q4_1.gguf", import.meta.url));

async function load(roundToF16: boolean): Promise<ReferenceModel> {
  if (!existsSync(GGUF))
    throw new Error(`this test needs ${GGUF}: remove models/smollm2-135m-instruct and run npm run model -- --quick.`);
  const { checkpoint, config, close } = await openCheckpoint(GGUF);
  try {
    return await ReferenceModel.load(checkpoint, config, { roundToF16 });
  } finally {
    await close();
  }
}

async function prefilled(model: ReferenceModel, ids: number[], onStage?: ReferenceSequenceOptions["onStage"]) {
  const sequence = await model.createSequence({ contextTokens: 256, onStage });
  await sequence.prefill(ids);
  return sequence;
}

async function decode(model: ReferenceModel, ids: number[], maxTokens: number): Promise<number[]> {
  const decoded: number[] = [];
  for await (const batch of (await prefilled(model, ids)).decode({ maxTokens })) decoded.push(...batch);
  return decoded;
}

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

const logSumExp = (logits: Float32Array) => {
  const max = logits.reduce((a, b) => Math.max(a, b));
  return max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
};

describe("with weights rounded to f16, as the golden run had them", () => {
  let model: ReferenceModel;
  beforeAll(async () => {
    model = await load(true);
  }, 120_000);

  it.each([short, t64])("has the golden residual stream after every layer of $name", async (prompt) => {
    const stages: { name: string; values: Float32Array }[] = [];
    const sequence = await prefilled(model, prompt.ids, (name, values) => stages.push({ name, values }));
    await sequence.logits();
    expect(stages.map(({ name }) => name)).toEqual(prompt.stages);
    for (const [i, { name, values }] of stages.entries()) {
      const l2 = Math.hypot(...values);
      expect(Math.abs(l2 - prompt.l2[i]) / prompt.l2[i], `${name}: L2 norm ${l2}`).toBeLessThan(1e-5);
      expect(largestDifference(values.subarray(0, 8), prompt.first8[i]), `${name}: first 8 values`).toBeLessThan(2e-3);
    }
  });

  it("has all golden logits after `short`", async () => {
    const logits = await (await prefilled(model, short.ids)).logits();
    expect(shortLogits.length).toBe(49_152);
    expect(logits.length).toBe(shortLogits.length);
    expect(largestDifference(logits, shortLogits)).toBeLessThan(2e-3);
  });

  it.each([short, t64])(
    "has the golden top 20 and log-sum-exp after $name",
    async ({ ids, top20_ids, top20_logits, logsumexp }) => {
      const logits = await (await prefilled(model, ids)).logits();
      const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
      expect(new Set(order.slice(0, 20))).toEqual(new Set(top20_ids));
      const ours = top20_ids.map((id) => logits[id]);
      expect(largestDifference(ours, top20_logits)).toBeLessThan(2e-3);
      expect(Math.abs(logSumExp(logits) - logsumexp)).toBeLessThan(2e-3);
    },
  );

  it.each([short, t64])("decodes the golden tokens of $name, greedily", async ({ ids, greedy48_ids, greedy_margin }) => {
    const decoded = await decode(model, ids, greedy48_ids.length);
    const wrong = decoded.findIndex((id, i) => id !== greedy48_ids[i]);
    // A near-tie may fall either way, and everything after it is another text.
    if (wrong >= 0) expect(greedy_margin[wrong], `token ${wrong} is ${decoded[wrong]}`).toBeLessThan(0.05);
    expect(decoded.length).toBe(48);
  });

  it.each(golden.chats)("answers $user as golden", async ({ ids, greedy_ids }) => {
    expect(await decode(model, ids, greedy_ids.length)).toEqual(greedy_ids);
  });

  it("computes the same after norms are folded and the residual and the heads rotated", async () => {
    const { config, weights } = model;
    const residual = makeRotation(rotationSpec(config.D, 1));
    const head = makeRotation(rotationSpec(config.d, 2));
    const layers = weights.layers.map(({ linears, inputNorm, postAttentionNorm }) => {
      const norms = { input_layernorm: inputNorm!, post_attention_layernorm: postAttentionNorm! };
      const folded = { ...linears };
      for (const linear of LINEARS) {
        const norm = normBefore(linear);
        folded[linear] = foldLinear(config, linear, linears[linear].slice(), norm && norms[norm], { residual, head });
      }
      return { linears: folded };
    });
    const rotated = new ReferenceModel(config, { ...weights, layers, rotation: residual });
    const logits = await (await prefilled(rotated, short.ids)).logits();
    const before = await (await prefilled(model, short.ids)).logits();
    expect(largestDifference(logits, before)).toBeLessThan(1e-3);
  });
});

describe("with the weights as the GGUF has them", () => {
  it("stays close to the golden logits after `short`", async () => {
    const logits = await (await prefilled(await load(false), short.ids)).logits();
    const difference = largestDifference(logits, shortLogits);
    expect(difference).toBeGreaterThan(2e-3);
    expect(difference).toBeLessThan(0.03);
  });
});
