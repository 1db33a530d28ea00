/**
 * The tuner on a tiny palettized model in the GPU's mapping: what it tries, what may win, what it remembers. Where a test asks who
 * wins, times are scripted and nothing is compiled: a software adapter's own times would decide by chance.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { KernelChoice } from "../../kernels/define-kernel";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { checkKernels, type SelfTestRow } from "../../runtime/engine/self-test/self-test";
import { Trial } from "../../runtime/engine/trial";
import { type ChoiceMemory, type ChoiceRecord, chooseKernels } from "../../runtime/engine/tune";
import { loadWeights } from "../../runtime/engine/weights";
import { Gpu } from "../../runtime/gpu/device";
import { priorChoice } from "../../runtime/gpu/prior-choice";
import { type TinyModel, tinyModel } from "./tiny-model";

vi.mock("../../runtime/engine/self-test/self-test", { spy: true });

const PRIOR = { software: false, int8: false, f32Pairs: false, lanes: 0 };
const F32_PAIRS = { ...PRIOR, f32Pairs: true };

let tiny: TinyModel;
beforeAll(async () => {
  tiny = await tinyModel("llama");
});

class Memory implements ChoiceMemory {
  readonly records = new Map<string, ChoiceRecord>();
  readonly get = vi.fn(async (key: string) => this.records.get(key));
  readonly put = vi.fn(async (key: string, record: ChoiceRecord) => void this.records.set(key, record));
}

describe("chooseKernels", () => {
  let gpu: Gpu;
  let model: ConstructorParameters<typeof Trial>[0];
  /** Milliseconds of a sample by choice; 10 where it says nothing. */
  let times: (choice: KernelChoice) => number;
  /** Which choices' kernels are wrong. */
  let wrong: (choice: KernelChoice) => boolean;

  beforeAll(async () => {
    gpu = await Gpu.request(await requestNodeGpu(), { choice: PRIOR });
    model = { gpu, config: tiny.config, weights: await loadWeights(gpu, tiny.config, tiny.checkpoint) };
  });
  afterAll(() => gpu.destroy());

  beforeEach(() => {
    gpu.choose(PRIOR);
    times = () => 10;
    wrong = () => false;
    vi.spyOn(Trial.prototype, "compile").mockResolvedValue();
    vi.spyOn(Trial.prototype, "time").mockImplementation(async function (this: Trial) {
      return times(this.choice);
    });
    vi.mocked(checkKernels).mockImplementation(async function* (_gpu, tier, kernels) {
      const row: SelfTestRow = {
        kernel: [...kernels][0],
        case: "scripted",
        variant: "portable",
        gate: 1e-10,
        nmse: 1,
        ok: true,
        bytes: 0,
      };
      yield { ...row, ok: !wrong(tier) };
    });
  });
  afterEach(() => vi.restoreAllMocks());

  const plenty = { budgetMs: 60_000 };

  it("takes the fastest, tells what it tried, and gives every buffer back", async () => {
    const before = gpu.bytes;
    times = ({ f32Pairs }) => (f32Pairs ? 8 : 10);
    const report = await chooseKernels(model, plenty);
    expect(report).toMatchObject({ choice: F32_PAIRS, source: "tuned", tunedMs: expect.any(Number) });
    expect(report.candidates).toContainEqual({ choice: F32_PAIRS, msPerToken: expect.any(Number), ok: true });
    expect(report.candidates?.[0]).toEqual({ choice: PRIOR, msPerToken: expect.any(Number) });
    expect(gpu.choice).toEqual(F32_PAIRS);
    expect(gpu.bytes).toBe(before);
  });

  it("stays where the gain is within 5 % or within the noise", async () => {
    times = ({ f32Pairs }) => (f32Pairs ? 9.6 : 10);
    expect((await chooseKernels(model, plenty)).choice).toEqual(PRIOR);
    // The median is 20 % faster, but only in three rounds of five.
    const noise = { f32: [8, 8, 8, 14, 14], f16: [10, 10, 10, 10, 10] };
    const seen = { f32: 0, f16: 0 };
    times = ({ f32Pairs }) => {
      const name = f32Pairs ? "f32" : "f16";
      return noise[name][seen[name]++ % 5];
    };
    expect((await chooseKernels(model, plenty)).choice).toEqual(PRIOR);
  });

  it("discards a choice that its twin proves wrong, however fast, the first one too", async () => {
    times = ({ f32Pairs }) => (f32Pairs ? 1 : 10);
    wrong = ({ f32Pairs }) => f32Pairs;
    const report = await chooseKernels(model, plenty);
    expect(report.choice).toEqual(PRIOR);
    const tried = report.candidates?.find(({ choice }) => choice.f32Pairs);
    expect(tried).toMatchObject({ ok: false, error: expect.stringMatching(/^\[[\w-]+\] scripted: .*1\.0e\+0/) });

    wrong = ({ f32Pairs }) => !f32Pairs;
    times = () => 10;
    expect((await chooseKernels(model, plenty)).choice).toMatchObject({ f32Pairs: true });
  });

  it("leaves forced fields alone, and a software adapter altogether", async () => {
    times = ({ f32Pairs }) => (f32Pairs ? 1 : 10);
    const forced = await chooseKernels(model, { ...plenty, forced: { f32Pairs: false } });
    expect(forced.choice.f32Pairs).toBe(false);
    expect(forced.candidates?.some(({ choice }) => choice.f32Pairs) ?? false).toBe(false);

    gpu.choose({ ...PRIOR, software: true });
    const memory = new Memory();
    expect(await chooseKernels(model, { ...plenty, memory })).toEqual({ choice: { ...PRIOR, software: true }, source: "prior" });
    expect(memory.get).not.toHaveBeenCalled();
  });

  it("remembers, until something that it depends on changes", async () => {
    const memory = new Memory();
    times = ({ f32Pairs }) => (f32Pairs ? 8 : 10);
    await chooseKernels(model, { ...plenty, memory });
    expect([...memory.records]).toEqual([
      [
        expect.stringContaining(`|${tiny.config.L}|${tiny.config.D}|`),
        { fingerprint: expect.any(String), attempts: 1, choice: F32_PAIRS },
      ],
    ]);
    gpu.choose(PRIOR);
    vi.mocked(Trial.prototype.time).mockClear();
    expect(await chooseKernels(model, { ...plenty, memory })).toEqual({ choice: F32_PAIRS, source: "stored" });
    expect(gpu.choice).toEqual(F32_PAIRS);
    expect(Trial.prototype.time).not.toHaveBeenCalled();

    gpu.choose(PRIOR);
    vi.stubGlobal("navigator", { userAgent: "Chrome/999" });
    expect(await chooseKernels(model, { ...plenty, memory })).toMatchObject({ source: "tuned" });
    vi.unstubAllGlobals();
    expect(memory.records.size).toBe(1);
  });

  it("tunes all the same where nothing can be remembered", async () => {
    const memory = { get: () => Promise.reject(new Error("private")), put: () => Promise.reject(new Error("private")) };
    times = ({ f32Pairs }) => (f32Pairs ? 8 : 10);
    expect((await chooseKernels(model, { ...plenty, memory })).choice).toEqual(F32_PAIRS);
  });

  it("decides nothing without time, and gives up after three loads", async () => {
    const memory = new Memory();
    times = ({ f32Pairs }) => (f32Pairs ? 8 : 10);
    for (let load = 1; load <= 3; load++) {
      expect(await chooseKernels(model, { budgetMs: 0, memory })).toMatchObject({
        choice: PRIOR,
        source: "prior",
        tunedMs: expect.any(Number),
      });
      expect([...memory.records.values()]).toEqual([{ fingerprint: expect.any(String), attempts: load }]);
    }
    expect(await chooseKernels(model, { ...plenty, memory })).toEqual({ choice: PRIOR, source: "prior" });
  });

  it("stops with the signal's reason, the choice as it was", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    times = () => {
      abort.abort(reason);
      return 10;
    };
    const before = gpu.bytes;
    await expect(chooseKernels(model, { ...plenty, signal: abort.signal })).rejects.toBe(reason);
    expect(gpu.choice).toEqual(PRIOR);
    expect(gpu.bytes).toBe(before);
  });
});

it("times and checks real kernels, and the engine runs what it chose", async () => {
  const engine = await Engine.create({
    gpu: await requestNodeGpu(),
    ...tiny,
    // Two candidates are enough, and already seconds of compiling on a software adapter.
    choice: { software: false, int8: false, lanes: 0 },
    tune: { budgetMs: 600_000 },
  });
  try {
    const { choice, source, candidates = [] } = engine.kernels;
    expect(source).toBe("tuned");
    expect(candidates.length).toBeGreaterThan(1);
    for (const { msPerToken, error } of candidates) {
      expect(error).toBeUndefined();
      expect(msPerToken).toBeGreaterThan(0);
    }
    expect(candidates).toContainEqual(expect.objectContaining({ choice, ok: true }));
    expect(engine.gpu.choice).toEqual(choice);
    const sequence = await engine.createSequence({ contextTokens: 64 });
    await sequence.prefill([1, 2, 3]);
    expect((await sequence.logits()).every(Number.isFinite)).toBe(true);
  } finally {
    engine.dispose();
  }
});

describe("priorChoice", () => {
  const GPU = { vendor: "", architecture: "", isFallback: false, packedDot: true };

  it.each([
    [
      { vendor: "nvidia", architecture: "ampere" },
      { int8: true, f32Pairs: false },
    ],
    [
      { vendor: "amd", architecture: "rdna-3" },
      { int8: true, f32Pairs: false },
    ],
    [
      { vendor: "amd", architecture: "rdna-1" },
      { int8: false, f32Pairs: false },
    ],
    [
      { vendor: "amd", architecture: "gcn-5" },
      { int8: false, f32Pairs: true },
    ],
    [
      { vendor: "apple", architecture: "metal-3" },
      { int8: false, f32Pairs: false },
    ],
    [
      { vendor: "acme", architecture: "one" },
      { int8: false, f32Pairs: false },
    ],
  ])("knows %o", (adapter, choice) => {
    expect(priorChoice({ ...GPU, ...adapter })).toEqual({ software: false, lanes: 0, ...choice });
  });

  it("takes no int8 where WGSL cannot multiply it", () => {
    expect(priorChoice({ ...GPU, vendor: "nvidia", packedDot: false }).int8).toBe(false);
  });

  it("makes a software adapter a software adapter", () => {
    expect(priorChoice({ ...GPU, isFallback: true })).toMatchObject({ software: true });
  });
});
