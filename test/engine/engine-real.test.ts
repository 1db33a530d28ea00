/**
 * The GPU engine on the palettized sample model against the CPU reference on the same weights: 64 prompt tokens and 32
 * decoded ones. On a software adapter this takes about a minute, most of it the GPU's.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { type OpenCheckpoint, openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import type { Sequence } from "../../runtime/engine/sequence";
import { argmax, DictatedCache, klDivergence } from "./compare";

const MODEL = fileURLToPath(new URL("../../models/smollm2-135m-instruct", import.meta.url));
const CONTEXT = 128;
const golden = JSON.parse(readFileSync(new URL("../golden/golden_logits.json", import.meta.url), "utf8"));
const prompt: number[] = golden.prompts.find(({ name }: { name: string }) => name === "t64").ids;

describe("sample model on the GPU", () => {
  let opened: OpenCheckpoint;
  let engine: Engine;
  let sequence: Sequence;
  /** Logits at every position of the prompt, then of the decoded ids. */
  const actual: Float32Array[] = [];
  const greedy: number[] = [];
  /** The reference's at the same positions. */
  const expected: Float32Array[] = [];

  beforeAll(async () => {
    if (!existsSync(MODEL)) throw new Error("this test needs the sample model: npm run model -- --quick makes it.");
    opened = await openCheckpoint(MODEL);
    const { checkpoint, config } = opened;
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      checkpoint,
      config,
      // f16 tiles and int8 have gates of their own: here every bit is to agree.
      disabledFeatures: ["shader-f16"],
      choice: { int8: false },
      contextTokens: CONTEXT,
    });
    sequence = await engine.createSequence({ contextTokens: CONTEXT });
    await sequence.prefillLogits(prompt, (_, logits) => actual.push(logits));
    for (let i = 0; i < 32; i++) {
      greedy.push(argmax(actual[actual.length - 1]));
      await sequence.prefill([greedy[i]]);
      actual.push(await sequence.logits());
    }
  }, 600_000);
  afterAll(async () => {
    engine.dispose();
    await opened.close();
  });

  it("equals the reference at every position, given the same int8 codes", async () => {
    const { checkpoint, config } = opened;
    const caches: DictatedCache[] = [];
    for (let layer = 0; layer < config.L; layer++)
      caches.push(new DictatedCache(config.G, config.d, CONTEXT, await sequence.readCache(layer)));
    const reference = await ReferenceModel.load(checkpoint, config);
    const cpu = await reference.createSequence({ contextTokens: CONTEXT, makeCache: (layer) => caches[layer] });
    const divergences: number[] = [];
    await cpu.prefillLogits([...prompt, ...greedy], (position, logits) => {
      expected.push(logits);
      divergences.push(klDivergence(actual[position], logits));
    });
    expect(divergences.length).toBe(96);
    expect(Math.max(...divergences)).toBeLessThan(1e-4);

    const codes = caches.reduce((sum, { seen }) => sum + seen.codes, 0);
    const differing = caches.reduce((sum, { seen }) => sum + seen.differing, 0);
    expect(codes).toBe(96 * config.L * config.G * config.d * 2);
    expect(differing / codes).toBeLessThan(1e-3);
    expect(Math.max(...caches.map(({ seen }) => seen.mostSteps))).toBeLessThan(1.01);
    console.info(
      `largest KL ${Math.max(...divergences).toExponential(1)}; ${differing} of ${codes} codes fell to their neighbour`,
    );
  }, 600_000);

  it("decodes the same ids with the sampler on the GPU", async () => {
    sequence.truncate(prompt.length - 1);
    await sequence.prefill(prompt.slice(-1));
    const ids: number[] = [];
    const options = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], maxTokens: 12 };
    for await (const batch of sequence.decode(options)) ids.push(...batch);
    expect(ids).toEqual(greedy.slice(0, 12));
  }, 300_000);

  it("prefill of a prompt equals token by token over the same cache", async () => {
    sequence.truncate(40);
    await sequence.prefill(prompt.slice(40, 41));
    expect(klDivergence(await sequence.logits(), actual[40])).toBeLessThan(1e-4);
  }, 300_000);

  it("stays near the reference in int8", async () => {
    const { checkpoint, config } = opened;
    const gpu = await requestNodeGpu();
    const choice = { int8: true };
    const inInt8 = await Engine.create({ gpu, checkpoint, config, choice, disabledFeatures: ["shader-f16"] });
    const other = await inInt8.createSequence({ contextTokens: CONTEXT });
    const divergences: number[] = [];
    await other.prefillLogits(prompt, (position, logits) => divergences.push(klDivergence(logits, expected[position])));
    for (const [i, id] of greedy.entries()) {
      await other.prefill([id]);
      divergences.push(klDivergence(await other.logits(), expected[prompt.length + i]));
    }
    inInt8.dispose();
    const largest = (values: number[]) => Math.max(...values).toExponential(1);
    console.info(`int8: largest KL of prefill ${largest(divergences.slice(0, 64))}, of decode ${largest(divergences.slice(64))}`);
    expect(Math.max(...divergences)).toBeLessThan(0.2);
  }, 600_000);
});
