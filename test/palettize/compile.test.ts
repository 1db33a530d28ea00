import { describe, expect, it } from "vitest";
import { type ModelConfig, parseConfig } from "../../runtime/engine/config";
import { OchreError } from "../../runtime/errors";
import { bytesSource } from "../../runtime/formats/byte-source";
import { checkPalettizedTensors, linearShape } from "../../runtime/formats/check-tensors";
import type { Checkpoint } from "../../runtime/formats/checkpoint";
import { f16ArrayToF32 } from "../../runtime/formats/f16";
import { LINEARS, linearTensor, SHARD_BYTES } from "../../runtime/formats/palettized";
import { parseShardIndex } from "../../runtime/formats/palettized-index";
import { dequantizeLinear } from "../../runtime/formats/palettized-linear";
import { openSafetensors } from "../../runtime/formats/safetensors";
import { type PalettizeOptions, palettize } from "../../runtime/palettize/compile";
import { foldLinear, foldRotations, normBefore } from "../../runtime/palettize/fold";
import { tinyCheckpoint, tinyConfig } from "./checkpoint";

async function compile(checkpoint: Checkpoint, config: ModelConfig, options: Partial<PalettizeOptions> = {}) {
  const files = new Map<string, Uint8Array>();
  const report = await palettize(checkpoint, config, {
    sink: { write: async (name, bytes) => void files.set(name, bytes) },
    ...options,
  });
  const json = (name: string) => JSON.parse(new TextDecoder().decode(files.get(name)));
  const index = parseShardIndex(json("model.safetensors.index.json"));
  const sources = index.shards.map(({ name }) => bytesSource(name, files.get(name)!));
  const model = await openSafetensors("model", sources, { config: json("config.json") });
  return { files, report, json, index, model };
}

async function readLinear(model: Checkpoint, name: string, rows: number, cols: number): Promise<Float32Array> {
  const words = async (suffix: string) => {
    const bytes = await model.readBytes(`${name}.${suffix}`);
    return bytes.slice().buffer;
  };
  return dequantizeLinear(
    {
      bits: new Uint8Array(await words("bits")),
      plane0: new Uint32Array(await words("plane0")),
      plane1: new Uint32Array(await words("plane1")),
      plane2: new Uint32Array(await words("plane2")),
      palette4: new Uint16Array(await words("palette4")),
      rowScale: new Uint16Array(await words("row_scale")),
    },
    rows,
    cols,
  );
}

describe("palettize", () => {
  it.each([true, false])("writes a directory that its own readers accept (tied head: %s)", async (tiedHead) => {
    const config = tinyConfig({ tiedHead });
    const { model, json } = await compile(tinyCheckpoint(config).checkpoint, config);
    const parsed = parseConfig(model.files);
    checkPalettizedTensors(parsed, model.tensors);
    const { quantization, ...sizes } = parsed;
    expect(sizes).toEqual(config);
    expect(quantization).toMatchObject({
      calibration: "data-free: error feedback from 512 random tokens",
      source: { name: "tiny" },
    });
    expect(json("tokenizer.json")).toEqual({ model: { type: "BPE" } });
    expect(json("generation_config.json")).toEqual({ eos_token_id: 2 });
  });

  it("every linear is its folded weight, to the nearest of 4 bits; tables are int8, the final norm is itself", async () => {
    const config = tinyConfig({ D: 96, F: 160 });
    const { tensors, checkpoint } = tinyCheckpoint(config);
    const { model, report } = await compile(checkpoint, config, { probeTokens: 0 });
    const rotations = foldRotations(parseConfig(model.files).quantization!.rotation);
    const errors: number[] = [];
    for (let layer = 0; layer < config.L; layer++) {
      for (const linear of LINEARS) {
        const name = linearTensor(layer, linear);
        const norm = normBefore(linear) && tensors.get(`model.layers.${layer}.${normBefore(linear)}.weight`)!.values;
        const folded = foldLinear(config, linear, tensors.get(`${name}.weight`)!.values.slice(), norm, rotations);
        const restored = await readLinear(model, name, ...linearShape(config, linear));
        const error = folded.reduce((sum, value, i) => sum + (value - restored[i]) ** 2, 0);
        errors.push(Math.sqrt(error / folded.reduce((sum, value) => sum + value ** 2, 0)));
      }
    }
    expect(Math.max(...errors)).toBeLessThan(0.11);
    report.linears.forEach(({ relativeError }, i) => {
      expect(relativeError).toBeCloseTo(errors[i], 4);
    });

    const codes = await model.read("model.embed_tokens.int8.0");
    const scales = f16ArrayToF32(new Uint16Array((await model.readBytes("model.embed_tokens.row_scale")).slice().buffer));
    tensors.get("model.embed_tokens.weight")!.values.forEach((value, i) => {
      const scale = scales[Math.floor(i / config.D)];
      expect(Math.abs(value - codes[i] * scale)).toBeLessThan(0.51 * scale);
    });
    const norms = [...tensors.keys()].filter((name) => name.includes("norm"));
    expect(norms.length).toBe(2 * config.L + 1);
    for (const name of norms) expect(await model.read(name)).toEqual(tensors.get(name)!.values);
  });

  it("loads in order: tables, norm, everything for 2 bits, then plane1, then plane2", async () => {
    const config = tinyConfig({ tiedHead: false });
    const { index } = await compile(tinyCheckpoint(config).checkpoint, config);
    const kinds = Object.keys(index.weight_map).map(
      (name) => /plane[12]$/.exec(name)?.[0] ?? (name.includes("layers") ? "first" : "head"),
    );
    expect(kinds.filter((kind, i) => kind !== kinds[i - 1])).toEqual(["head", "first", "plane1", "plane2"]);
  });

  it("the same checkpoint gives the same bytes", async () => {
    const config = tinyConfig();
    const [first, second] = [
      await compile(tinyCheckpoint(config).checkpoint, config),
      await compile(tinyCheckpoint(config).checkpoint, config),
    ];
    expect(second.files).toEqual(first.files);
    const other = await compile(tinyCheckpoint(config, 2).checkpoint, config);
    expect(other.files).not.toEqual(first.files);
  });

  it("counts bits and bytes as they are on disk", async () => {
    const config = tinyConfig({ D: 128, H: 2, d: 64, F: 256 });
    const { report, model, files } = await compile(tinyCheckpoint(config).checkpoint, config);
    const linears = [...model.tensors.values()].filter(({ name }) => name.includes("_proj."));
    const weights =
      LINEARS.map((linear) => linearShape(config, linear)).reduce((sum, [rows, cols]) => sum + rows * cols, 0) * config.L;
    expect(report.averageBits).toBeCloseTo((8 * linears.reduce((sum, { bytes }) => sum + bytes, 0)) / weights, 3);
    expect(report.averageBits).toBeGreaterThan(4);
    expect(report.bytes).toBe([...files.values()].reduce((sum, { length }) => sum + length, 0));
  });

  it("cuts a large vocabulary into shards of at most 16 MB", async () => {
    const { tensors, checkpoint } = tinyCheckpoint(tinyConfig());
    const config = tinyConfig({ V: 720_000 });
    const values = new Float32Array(config.V * config.D).fill(0.5);
    tensors.set("model.embed_tokens.weight", { shape: [config.V, config.D], values });
    const { files, index } = await compile(checkpoint, config);
    expect(index.shards.length).toBe(2);
    for (const { name } of index.shards) expect(files.get(name)!.length).toBeLessThanOrEqual(SHARD_BYTES);
  });

  it("reports every linear", async () => {
    const config = tinyConfig();
    const seen: unknown[] = [];
    await compile(tinyCheckpoint(config).checkpoint, config, { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual(
      [0, 1].flatMap((layer) =>
        LINEARS.map((linear, i) => ({ done: 7 * layer + i + 1, total: 14, name: linearTensor(layer, linear) })),
      ),
    );
  });

  it("an abort rejects with its reason, and leaves no config.json", async () => {
    const config = tinyConfig();
    const controller = new AbortController();
    const files: string[] = [];
    const compiling = palettize(tinyCheckpoint(config).checkpoint, config, {
      sink: { write: async (name) => void files.push(name) },
      onProgress: ({ done }) => done === 3 && controller.abort("enough"),
      signal: controller.signal,
    });
    await expect(compiling).rejects.toBe("enough");
    expect(files).not.toContain("config.json");
    expect(files).not.toContain("model.safetensors.index.json");
  });
});

describe("palettize refuses", () => {
  const refusal = async (
    change: (parts: ReturnType<typeof tinyCheckpoint>) => void,
    config = tinyConfig(),
  ): Promise<OchreError> => {
    const parts = tinyCheckpoint(config);
    change(parts);
    const error = await compile(parts.checkpoint, config).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(OchreError);
    return error as OchreError;
  };

  it.each([
    ["model.layers.1.mlp.up_proj.weight", Number.NaN],
    ["model.layers.0.input_layernorm.weight", Number.POSITIVE_INFINITY],
    ["model.embed_tokens.weight", Number.NEGATIVE_INFINITY],
    ["model.norm.weight", Number.NaN],
  ])("%s with %f in it, by name", async (name, value) => {
    const error = await refusal(({ tensors }) => {
      tensors.get(name)!.values[3] = value;
    });
    expect(error).toMatchObject({ code: "MODEL_FORMAT", details: { tensor: name } });
    expect(error.message).toContain(`${name} must be finite but value 3 is ${value}`);
  });

  it("weights that a norm drives out of f32", async () => {
    const error = await refusal(({ tensors }) => {
      tensors.get("model.layers.1.self_attn.q_proj.weight")!.values.fill(1e30);
      tensors.get("model.layers.1.input_layernorm.weight")!.values.fill(1e30);
    });
    expect(error).toMatchObject({ code: "MODEL_FORMAT", details: { tensor: "model.layers.1.self_attn.q_proj" } });
  });

  it("a tensor that would be lost", async () => {
    const error = await refusal(({ tensors }) => {
      tensors.set("model.layers.0.self_attn.q_proj.bias", { shape: [24], values: new Float32Array(24) });
    });
    expect(error.code).toBe("MODEL_UNSUPPORTED");
    expect(error.message).toContain("q_proj.bias");
  });

  it("a tensor that is missing", async () => {
    const error = await refusal(({ tensors }) => {
      tensors.delete("model.layers.1.mlp.down_proj.weight");
    });
    expect(error).toMatchObject({ code: "MODEL_FORMAT", details: { tensor: "model.layers.1.mlp.down_proj.weight" } });
  });

  it("a model that is palettized already", async () => {
    const config = tinyConfig();
    const { model } = await compile(tinyCheckpoint(config).checkpoint, config);
    await expect(compile(model, parseConfig(model.files))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
