import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../runtime/formats/byte-source";
import type { ModelSizes } from "../../runtime/formats/check-tensors";
import type { JsonObject } from "../../runtime/formats/json";
import { type AdapterWeights, readPeft, writePeft } from "../../runtime/formats/peft";
import { encodeSafetensors } from "../../runtime/formats/safetensors";
import { peftFiles, randomAdapter } from "./peft-adapter";

const SIZES: ModelSizes = { L: 3, D: 48, H: 3, G: 1, d: 16, F: 80, V: 100, tiedHead: true };
const adapter = randomAdapter(SIZES, 1);
const read = (config: JsonObject = {}, from: AdapterWeights = adapter, sizes = SIZES) =>
  readPeft("pirate", peftFiles(from, config), sizes);
/** All of it, shallow: a rename or a stray scale shows. */
const sameWeights = (a: AdapterWeights, b: AdapterWeights) => {
  expect([...a.linears.keys()]).toEqual([...b.linears.keys()]);
  for (const [module, low] of b.linears) expect(a.linears.get(module), module).toEqual(low);
};

describe("reading", () => {
  it.each(["F16", "F32"] as const)("has the tensors of %s exactly, by linear", async (dtype) => {
    const found = await readPeft("pirate", peftFiles(adapter, {}, dtype), SIZES);
    expect([found.name, found.rank, found.scale]).toEqual(["pirate", 4, 2]);
    expect(found.linears.size).toBe(21);
    sameWeights(found, adapter);
  });

  it("reads bf16", async () => {
    const cut = randomAdapter(SIZES, 2);
    for (const low of cut.linears.values())
      for (const values of [low.a, low.b]) {
        const words = new Uint32Array(values.buffer);
        for (let i = 0; i < words.length; i++) words[i] &= 0xffff0000;
      }
    sameWeights(await readPeft("pirate", peftFiles(cut, {}, "BF16"), SIZES), cut);
  });

  it("scales by alpha / r, with rsLoRA by alpha / sqrt(r)", async () => {
    expect((await read({ lora_alpha: 6 })).scale).toBe(1.5);
    expect((await read({ lora_alpha: 6, use_rslora: true })).scale).toBe(3);
  });

  it("adapts the layers and linears that it is told", async () => {
    const some = randomAdapter(SIZES, 3, { linears: ["self_attn.q_proj", "mlp.down_proj"], layers: [0, 2] });
    const expected = [...some.linears.keys()];
    expect([...(await read({ layers_to_transform: [0, 2] }, some)).linears.keys()]).toEqual(expected);
    const regex = "model\\.layers\\.(0|2)\\.(self_attn\\.q_proj|mlp\\.down_proj)";
    expect([...(await read({ target_modules: regex }, some)).linears.keys()]).toEqual(expected);
    const one = randomAdapter(SIZES, 3, { linears: ["mlp.up_proj"], layers: [1] });
    expect((await read({ layers_to_transform: 1 }, one)).linears.size).toBe(1);
    const all = await read({ target_modules: "all-linear", exclude_modules: ["down_proj"] }, withoutDown());
    expect(all.linears.size).toBe(18);
  });

  it("gives a linear the rank and alpha that a pattern names, the ratio of scales in b", async () => {
    const mixed = randomAdapter(SIZES, 4);
    const wide = randomAdapter(SIZES, 5, { rank: 8, linears: ["self_attn.v_proj"], layers: [1] });
    const name = "model.layers.1.self_attn.v_proj";
    mixed.linears.set(name, wide.linears.get(name)!);
    const found = await read({ rank_pattern: { "layers.1.self_attn.v_proj": 8 }, alpha_pattern: { v_proj: 4 } }, mixed);
    expect([found.rank, found.scale]).toEqual([8, 2]);
    expect(found.linears.get(name)!.rank).toBe(8);
    const ratio = 4 / 8 / 2;
    expect(found.linears.get(name)!.b).toEqual(wide.linears.get(name)!.b.map((value) => value * ratio));
    expect(found.linears.get("model.layers.1.self_attn.q_proj")).toEqual(mixed.linears.get("model.layers.1.self_attn.q_proj"));
  });

  it("reads what PEFT itself wrote", async () => {
    const file = (name: string) => readFileSync(new URL(`../golden/lora_a/${name}`, import.meta.url));
    const found = await readPeft(
      "lora_a",
      {
        config: JSON.parse(file("adapter_config.json").toString()),
        weights: bytesSource("adapter_model.safetensors", Uint8Array.from(file("adapter_model.safetensors"))),
      },
      { L: 30, D: 576, H: 9, G: 3, d: 64, F: 1536, V: 49152, tiedHead: true },
    );
    expect([found.rank, found.scale, found.linears.size]).toEqual([4, 2, 210]);
    const { a, b } = found.linears.get("model.layers.29.mlp.down_proj")!;
    expect([a.length, b.length]).toEqual([4 * 1536, 576 * 4]);
  });
});

function withoutDown(): AdapterWeights {
  const linears = new Map([...adapter.linears].filter(([name]) => !name.endsWith("down_proj")));
  return { ...adapter, linears };
}

describe("refusing", () => {
  it.each([
    [{ use_dora: true }, "use_dora"],
    [{ bias: "lora_only" }, "bias"],
    [{ lora_bias: true }, "lora_bias"],
    [{ modules_to_save: ["lm_head"] }, "modules_to_save"],
    [{ fan_in_fan_out: true }, "fan_in_fan_out"],
    [{ layer_replication: [[0, 1]] }, "layer_replication"],
    [{ trainable_token_indices: [1] }, "trainable_token_indices"],
    [{ alora_invocation_tokens: [1] }, "alora_invocation_tokens"],
    [{ init_lora_weights: "pissa_niter_16" }, "init_lora_weights"],
    [{ peft_type: "IA3" }, "peft_type"],
    [{ target_modules: "(?P<x>q_proj)" }, "target_modules"],
  ])("%j by name", async (config, field) => {
    await expect(read(config)).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining(field) });
  });

  it.each(["model.embed_tokens.lora_embedding_A", "lm_head.lora_A.weight", "model.layers.0.mlp.up_proj.lora_magnitude_vector"])(
    "the tensor %s",
    async (tensor) => {
      const { config } = peftFiles(adapter);
      const bytes = encodeSafetensors([
        { name: `base_model.model.${tensor}`, dtype: "F32", shape: [1], bytes: new Uint8Array(4) },
      ]);
      await expect(
        readPeft("pirate", { config: { ...config, target_modules: [] }, weights: bytesSource("x", bytes) }, SIZES),
      ).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining(tensor) });
    },
  );

  it.each<[string, JsonObject, ModelSizes]>([
    ["a wider model", {}, { ...SIZES, D: 64 }],
    ["a deeper one", {}, { ...SIZES, L: 4 }],
    ["a shallower one", {}, { ...SIZES, L: 2 }],
    ["another rank than it says", { r: 8 }, SIZES],
    ["targets that leave tensors over", { target_modules: ["q_proj"] }, SIZES],
    ["targets that it has not", { target_modules: ["conv1d"] }, SIZES],
  ])("an adapter of %s", async (_, config, sizes) => {
    await expect(read(config, adapter, sizes)).rejects.toMatchObject({ code: "ADAPTER_MISMATCH" });
  });

  it.each([{ r: 0 }, { r: 2.5 }, { lora_alpha: "8" }, { target_modules: 3 }, { rank_pattern: { v_proj: -1 } }])(
    "%j as damaged",
    async (config) => {
      await expect(read(config as JsonObject)).rejects.toMatchObject({ code: "MODEL_FORMAT" });
    },
  );

  it("a value that is not finite", async () => {
    const broken = randomAdapter(SIZES, 6);
    broken.linears.get("model.layers.1.mlp.up_proj")!.a[3] = Number.NaN;
    await expect(read({}, broken)).rejects.toMatchObject({ code: "MODEL_FORMAT" });
  });
});

describe("writing", () => {
  const written = async (from: AdapterWeights) => {
    const { config, weights } = writePeft(from, { base: "tiny" });
    // Through text, as a file would be.
    return readPeft("again", { config: JSON.parse(JSON.stringify(config)), weights: bytesSource("w", weights) }, SIZES);
  };

  it("comes back as it was", async () => {
    const again = await written(adapter);
    expect([again.rank, again.scale]).toEqual([4, 2]);
    sameWeights(again, adapter);
  });

  it("keeps ranks that differ, and linears that are left out", async () => {
    const mixed = randomAdapter(SIZES, 7, { rank: 8, linears: ["mlp.gate_proj", "self_attn.o_proj"] });
    for (const [module, low] of randomAdapter(SIZES, 8, { rank: 2, linears: ["mlp.down_proj"], layers: [2] }).linears)
      mixed.linears.set(module, low);
    const again = await written(mixed);
    expect([again.rank, again.scale, again.linears.size]).toEqual([8, 2, 7]);
    for (const [module, low] of mixed.linears) expect(again.linears.get(module), module).toEqual(low);
  });

  it("refuses what f16 cannot hold", () => {
    const large = randomAdapter(SIZES, 9);
    large.linears.get("model.layers.0.mlp.up_proj")!.b[0] = 1e6;
    expect(() => writePeft(large, { base: "tiny" })).toThrow(/lora_B/);
  });
});
