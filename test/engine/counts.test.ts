/** What a decoded token costs besides its arithmetic: dispatches, submits, read-backs, GPU objects, CPU time, bytes. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Cost, Recorder } from "../../kernels/define-kernel";
import type { PaletteWeights } from "../../kernels/palette-weights";
import { sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import type { ModelConfig } from "../../runtime/engine/config";
import type { DecodeOptions } from "../../runtime/engine/decode";
import { Engine } from "../../runtime/engine/engine";
import { forward, head } from "../../runtime/engine/forward";
import type { Sequence } from "../../runtime/engine/sequence";
import { allocateStep, kvBytes, releaseStep } from "../../runtime/engine/step-buffers";
import { type TinyModel, tinyModel } from "./tiny-model";

const PROMPT = Array.from({ length: 20 }, (_, i) => [5, 9, 300, 41][i % 4]);
const GREEDY: DecodeOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [], maxTokens: 40 };

describe.each([
  { software: true, int8: false },
  { software: true, int8: true },
  { software: false, int8: false },
])("a decoded token, software mapping $software, int8 $int8", (choice) => {
  let tiny: TinyModel;
  let engine: Engine;
  let sequence: Sequence;
  beforeAll(async () => {
    tiny = await tinyModel("llama");
    engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny, choice, contextTokens: 128 });
    sequence = await engine.createSequence({ contextTokens: 128 });
  });
  afterAll(() => engine.dispose());
  afterEach(() => {
    vi.restoreAllMocks();
  });

  async function reply(options: Partial<DecodeOptions>): Promise<number> {
    sequence.truncate(0);
    await sequence.prefill(PROMPT);
    let batches = 0;
    for await (const _ of sequence.decode({ ...GREEDY, ...options })) batches++;
    return batches;
  }

  /** Until a reply makes nothing, nor the time after it: what checks guesses is compiled when first needed, beside replies. */
  async function warmUp(options: Partial<DecodeOptions>): Promise<void> {
    for (let before = ""; before !== JSON.stringify(engine.gpu.made); ) {
      before = JSON.stringify(engine.gpu.made);
      await reply(options);
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }

  it("takes at most 7 dispatches a layer and 6 besides, the cut of top-k and top-p included", () => {
    expect(sequence.dispatchesPerLayer).toBeLessThanOrEqual(7);
    expect(sequence.dispatchesPerToken + 1).toBeLessThanOrEqual(7 * tiny.config.L + 6);
  });

  it.each(["never", "always"] as const)("reads back once a submit and makes no GPU object, guessing %s", async (speculate) => {
    await warmUp({ speculate });
    sequence.truncate(0);
    await sequence.prefill(PROMPT);
    const before = { ...engine.gpu.made, bytes: engine.gpuBytes };
    const submits = vi.spyOn(GPUQueue.prototype, "submit");
    const readBacks = vi.spyOn(GPUBuffer.prototype, "mapAsync");
    let batches = 0;
    for await (const _ of sequence.decode({ ...GREEDY, speculate })) batches++;
    expect(batches).toBeGreaterThan(4);
    expect([submits.mock.calls.length, readBacks.mock.calls.length]).toEqual([batches, batches]);
    expect({ ...engine.gpu.made, bytes: engine.gpuBytes }).toEqual(before);
  });

  it("is encoded in little CPU time, which is measured", async () => {
    const before = { ...sequence.encoded };
    await reply({ speculate: "never" });
    const tokens = sequence.encoded.tokens - before.tokens;
    const ms = sequence.encoded.ms - before.ms;
    expect(tokens).toBe(GREEDY.maxTokens - 1);
    expect(ms).toBeGreaterThan(0);
    console.info(`${(ms / tokens).toFixed(2)} ms to encode a token of ${sequence.dispatchesPerToken} dispatches`);
    expect(ms / tokens / sequence.dispatchesPerToken).toBeLessThan(1);
  });
});

/** The sample model's widths. */
const SAMPLE: ModelConfig = {
  ...{ family: "llama", L: 30, D: 576, H: 9, G: 3, d: 64, F: 1536, V: 49152, contextTokens: 2048 },
  ...{ normEps: 1e-5, rope: { theta: 10000 }, tiedHead: true, eosIds: [] },
};
const BITS = 4;
/** Of codes, palettes of 16 entries in f16, and row scales in f16. */
const paletteBytes = (rows: number, cols: number) => (rows * cols * BITS) / 8 + (rows / 16) * 32 + 2 * rows;

describe("the bytes that a decoded token reads", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.create({ gpu: await requestNodeGpu(), ...(await tinyModel("llama")) });
  });
  afterAll(() => engine.dispose());

  it.each([
    { software: false, length: 1 },
    { software: false, length: 1000 },
    { software: true, length: 1000 },
  ])("are those of weights and cache, and 3 % for all else: $length cached, software mapping $software", (options) => {
    const { gpu } = engine;
    const { D, H, G, d, F, V, L } = SAMPLE;
    const any = gpu.buffer("nothing", 16);
    const linear = (rows: number, cols: number): PaletteWeights => ({
      ...{ rows, cols, plane0: any, plane1: any, plane2: any, blocks: any },
      bytes: (rows * cols * BITS) / 8 + (rows / 16) * 80, // as the loader counts its buffers
    });
    const layer = {
      qkv_proj: linear((H + 2 * G) * d, D),
      o_proj: linear(D, H * d),
      gate_up_proj: linear(2 * F, D),
      down_proj: linear(D, F),
    };
    const table = { table: any, rowScale: any, V, D, bytes: V * (D + 4) };
    const rotation = { buffer: gpu.buffer("rotation", 4 * (9 * 9 + D)), dct: 9, hadamard: 64 };
    const layers = Array<typeof layer>(L).fill(layer);
    const weights = { embedding: table, head: table, rotation, norm: any, layers, bytes: 0, bytesPerToken: 0 };
    // A window that is just full: costs count what grows at its most.
    const step = allocateStep(gpu, SAMPLE, options.length, 1);
    const costs: Cost[] = [];
    const tier = { ...gpu.tier, software: options.software, int8: false };
    const recorder: Recorder = { tier, dispatch: ({ cost }) => costs.push(cost) };
    forward(recorder, SAMPLE, weights, step, 1);
    head(recorder, SAMPLE, weights, step);
    const { logits, sampling, state, thresholds, best, ids, results } = step;
    sampleGumbel(recorder, { logits, V, sampling, state, thresholds, best });
    samplePick(recorder, { best, V, sampling, state, ids, results });

    const perLayer = Object.values(layer).reduce((sum, { rows, cols }) => sum + paletteBytes(rows, cols), 0);
    const cache = kvBytes(step);
    const needed = L * perLayer + V * (D + 4) + cache;
    const read = costs.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
    releaseStep(gpu, step);
    expect(cache).toBe(L * options.length * G * (2 * d + 8));
    expect(read / needed).toBeGreaterThan(1);
    expect(read / needed).toBeLessThan(1.03);
  });
});
