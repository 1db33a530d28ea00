/** Compiling with a text, with chosen widths, and from a seed. */
import { describe, expect, it } from "vitest";
import { inlinePool } from "../../runtime/compute/pool";
import { type ModelConfig, parseConfig } from "../../runtime/engine/config";
import { bytesSource } from "../../runtime/formats/byte-source";
import { checkPalettizedTensors } from "../../runtime/formats/check-tensors";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { openSafetensors } from "../../runtime/formats/safetensors";
import type { Damages } from "../../runtime/palettize/allocate";
import { type PalettizeOptions, palettize } from "../../runtime/palettize/compile";
import { foldRotations, rotationsOf } from "../../runtime/palettize/fold";
import { foldedLinears } from "../../runtime/palettize/layers";
import { measureDamages } from "../../runtime/palettize/measure";
import { type ModelBits, modelLinears, uniformBits } from "../../runtime/palettize/plan";
import { Probe, type ProbeTokens } from "../../runtime/palettize/probe";
import { tasks } from "../../runtime/palettize/tasks";
import { tinyCheckpoint, tinyConfig } from "./checkpoint";
import { makeRandom } from "./random";

const config = tinyConfig({ L: 1, D: 64, H: 4, G: 2, d: 16, F: 80 });
const { checkpoint } = tinyCheckpoint(config);
const someIds = (length: number, seed = 1) => {
  const random = makeRandom(seed);
  return Array.from({ length }, () => random.below(config.V));
};
const text = { ids: someIds(600), sha256: "ab".repeat(32) };

async function compile(options: Partial<PalettizeOptions> = {}) {
  const files = new Map<string, Uint8Array>();
  const report = await palettize(checkpoint, config, {
    sink: { write: async (name, bytes) => void files.set(name, bytes) },
    ...options,
  });
  const json = (name: string) => JSON.parse(new TextDecoder().decode(files.get(name)));
  const sources = parseShardIndex(json("model.safetensors.index.json")).shards.map(({ name }) =>
    bytesSource(name, files.get(name)!),
  );
  const model = await openSafetensors("model", sources, { config: json("config.json") });
  return { files, report, model, config: parseConfig(model.files) };
}

/** What every width would do to every block, on these tokens. */
async function damagesOf(model: ModelConfig, tokens: ProbeTokens, widths = [2, 3, 4]): Promise<Damages> {
  const rotations = foldRotations(rotationsOf(model, 1));
  const probe = new Probe(model, rotations, await checkpoint.read("model.embed_tokens.weight"), tokens);
  return measureDamages(
    model,
    foldedLinears(checkpoint, model, rotations, probe),
    tokens.ids.length,
    { averageBits: 4, widths },
    inlinePool(tasks),
    () => {},
  );
}

const damageOf = (damages: Damages, bits: ModelBits) =>
  [...bits].reduce(
    (sum, [name, widths]) => sum + widths.reduce((total, width, block) => total + damages.get(name)![width - 2][block], 0),
    0,
  );

describe("a calibration text", () => {
  it("runs instead of random tokens, and config.json says so", async () => {
    const { report, config: compiled } = await compile({ text });
    expect(report.calibration).toEqual({ kind: "text", tokens: 600, sha256: text.sha256 });
    expect(compiled.quantization?.calibration).toBe(`error feedback from 600 tokens of a text with SHA-256 ${text.sha256}`);
    const other = await compile({ text: { ...text, ids: someIds(600, 2) } });
    expect(other.files.get("model-00001-of-00001.safetensors")).not.toEqual(
      (await compile({ text })).files.get("model-00001-of-00001.safetensors"),
    );
    expect((await compile({ text })).files).toEqual((await compile({ text })).files);
  });

  it("tokens see those of their own window of 512 only", async () => {
    const rotations = foldRotations(rotationsOf(config, 1));
    const embedding = await checkpoint.read("model.embed_tokens.weight");
    const runs = [text.ids, text.ids.slice(512)].map(
      (ids) => new Probe(config, rotations, embedding, { ids, windowTokens: 512 }),
    );
    for (const probe of runs) for await (const _ of foldedLinears(checkpoint, config, rotations, probe));
    expect(runs[0].x.slice(512 * config.D)).toEqual(runs[1].x);
  });

  it.each([[[]], [[3, 50]], [[-1]], [[0.5]]])("of ids %j is refused", async (ids) => {
    await expect(compile({ text: { ...text, ids } })).rejects.toThrow(/must hold ids of 0 to 49 but (the text is empty|one is )/);
  });
});

describe("chosen widths", () => {
  it.each([[[2, 4]], [[2, 3, 4]]])("of %j keep to the average and do less damage than 3 bits everywhere", async (widths) => {
    const three = uniformBits(config, 3);
    const { report: even } = await compile({ text, bits: three });
    const { report, model, config: compiled } = await compile({ text, allocation: { averageBits: even.averageBits, widths } });
    checkPalettizedTensors(compiled, model.tensors);
    expect(report.averageBits).toBeLessThanOrEqual(even.averageBits);
    expect(report.averageBits).toBeGreaterThan(even.averageBits - 0.16);
    expect(report.averageBits).toBe(compiled.quantization?.average_bits);
    for (const [name, bits] of report.bits) expect(await model.readBytes(`${name}.bits`)).toEqual(bits);
    expect(new Set([...report.bits.values()].flatMap((bits) => [...bits])).size).toBe(widths.length);
    const damages = await damagesOf(config, { ids: text.ids, windowTokens: 512 });
    expect(damageOf(damages, report.bits)).toBeLessThan(damageOf(damages, three));
  });

  it("also come from random tokens, and are the same every time", async () => {
    const allocation = { averageBits: 3.6 };
    const [first, second] = [await compile({ allocation }), await compile({ allocation })];
    expect(second.files).toEqual(first.files);
    expect((await compile({ bits: first.report.bits })).files).toEqual(first.files);
  });

  it("damage is per token, and falls with the width", async () => {
    const ids = someIds(128);
    const [once, twice] = await Promise.all(
      [ids, [...ids, ...ids]].map((list) => damagesOf(config, { ids: list, windowTokens: 128 })),
    );
    for (const [name, [two, three, four]] of once) {
      two.forEach((damage, block) => {
        expect(twice.get(name)![0][block] / damage).toBeCloseTo(1, 2);
        expect(three[block]).toBeLessThan(damage);
        expect(four[block]).toBeLessThan(three[block]);
      });
    }
  });

  it("that are fixed need neither measuring nor tokens", async () => {
    const seen: number[] = [];
    const allocation = { averageBits: 16, widths: [3] };
    const { report } = await compile({ allocation, probeTokens: 0, onProgress: ({ total }) => seen.push(total) });
    expect(new Set(seen)).toEqual(new Set([7]));
    expect(report.bits).toEqual(uniformBits(config, 3));
    await expect(compile({ allocation: { averageBits: 3.6 }, probeTokens: 0 })).rejects.toThrow(/needs a text or random tokens/);
  });

  it("progress counts both passes", async () => {
    const seen: [number, number][] = [];
    await compile({ allocation: { averageBits: 3.6 }, onProgress: ({ done, total }) => seen.push([done, total]) });
    expect(seen).toEqual(Array.from({ length: 14 }, (_, i) => [i + 1, 14]));
  });

  it("an abort ends the first pass too", async () => {
    const controller = new AbortController();
    const compiling = compile({
      allocation: { averageBits: 3.6 },
      signal: controller.signal,
      onProgress: ({ done }) => done === 3 && controller.abort("enough"),
    });
    await expect(compiling).rejects.toBe("enough");
  });

  it("must be of this model", async () => {
    const [{ name }] = modelLinears(config);
    const without = new Map(uniformBits(config, 4));
    without.delete(name);
    await expect(compile({ bits: without })).rejects.toThrow(`${name} needs 4 widths of 2 to 4 bits but has none`);
    const short = new Map(uniformBits(config, 4)).set(name, Uint8Array.of(4, 4));
    await expect(compile({ bits: short })).rejects.toThrow(`${name} needs 4 widths of 2 to 4 bits but has 4,4`);
    const wide = new Map(uniformBits(config, 4)).set(name, Uint8Array.of(4, 4, 5, 4));
    await expect(compile({ bits: wide })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("a seed", () => {
  it("turns the rotations and the random tokens", async () => {
    const { config: first } = await compile();
    expect(first.quantization?.rotation).toMatchObject({ residual: { seed: 1 }, head: { seed: 2 } });
    const { config: other, files } = await compile({ seed: 7 });
    expect(other.quantization?.rotation).toMatchObject({ residual: { seed: 7 }, head: { seed: 8 } });
    expect((await compile({ seed: 7 })).files).toEqual(files);
  });
});

describe("palettize with sensitivities", () => {
  const linears = modelLinears(config);
  const sensitivities = Object.fromEntries(linears.map(({ name }, i) => [name, 0.25 * i]));
  const bits = uniformBits(config, 3);

  it("writes what a unit of squared error of the weights costs, as this text moves the outputs", async () => {
    const { report, config: compiled } = await compile({ text, kept: 0, bits, sensitivities });
    const damages = await damagesOf(config, { ids: text.ids, windowTokens: 512 }, [2, 3, 4]);
    const written = compiled.quantization!.sensitivities!;
    const rotations = foldRotations(rotationsOf(config, 1));
    let i = 0;
    for await (const { name, weight } of foldedLinears(checkpoint, config, rotations)) {
      const squaredError = report.linears[i++].relativeError ** 2 * weight.reduce((sum, value) => sum + value ** 2, 0);
      const perToken = damages.get(name)![1].reduce((sum, error) => sum + error, 0);
      const expected = (sensitivities[name] * perToken) / squaredError;
      expect(Math.abs(written[name] - expected)).toBeLessThanOrEqual(1e-3 * expected);
      expect(written[name]).toBe(Number(written[name].toPrecision(4)));
    }
    expect(Object.keys(written)).toEqual(linears.map(({ name }) => name));
  });

  it("takes those of the allocation, and says nothing where nothing is known", async () => {
    const of = async (options: Partial<PalettizeOptions>) => (await compile(options)).config.quantization!.sensitivities;
    expect(await of({ text, kept: 0, allocation: { averageBits: 5, widths: [3], sensitivities } })).toEqual(
      await of({ text, kept: 0, bits, sensitivities }),
    );
    expect(await of({ text, bits })).toBeUndefined();
    expect(await of({ probeTokens: 0, bits, sensitivities })).toBeUndefined();
    expect(Object.keys((await of({ text, bits, sensitivities: { [linears[3].name]: 1 } }))!)).toEqual([linears[3].name]);
  });

  it("refuses those of no linear, and below 0", async () => {
    await expect(compile({ text, bits, sensitivities: { down_proj: 1 } })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(compile({ text, bits, sensitivities: { [linears[0].name]: -1 } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});
