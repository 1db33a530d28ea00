import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../runtime/engine/config";
import { OchreError } from "../../runtime/errors";
import { rotationSpec } from "../../runtime/formats/rotation";

const golden = (family: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../golden/tiny/${family}/config.json`, import.meta.url), "utf8"));
const llama = golden("llama");
const palettized = {
  quant_method: "palettized",
  version: 1,
  palette_rows: 16,
  average_bits: 3.5,
  rotation: { residual: rotationSpec(64, 7), head: rotationSpec(16, 8) },
  calibration: "data-free",
  source: { name: "tiny", revision: "main", sha256: "ab".repeat(32) },
};

/** The error that a changed config gives. */
function refusal(changes: Record<string, unknown>): OchreError {
  try {
    parseConfig({ config: { ...llama, ...changes } });
  } catch (error) {
    if (error instanceof OchreError) return error;
    throw error;
  }
  throw new Error("the config was accepted");
}

describe("families", () => {
  test("llama, in the spelling of transformers 5", () => {
    expect(parseConfig({ config: llama })).toEqual({
      family: "llama",
      L: 3,
      D: 64,
      H: 4,
      G: 2,
      d: 16,
      F: 176,
      V: 512,
      contextTokens: 512,
      normEps: 1e-6,
      rope: { theta: 10000 },
      tiedHead: true,
      bosId: 1,
      eosIds: [2],
      quantization: undefined,
    });
  });

  test("llama 3 with scaled RoPE, a head of its own and a head size that is not D / H", () => {
    expect(parseConfig({ config: golden("llama3") })).toMatchObject({
      d: 32,
      G: 1,
      tiedHead: false,
      rope: { theta: 500000, llama3: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 } },
    });
  });

  test("the spelling of transformers 4", () => {
    const { rope_parameters: _, head_dim: __, ...old } = llama;
    const scaling = {
      type: "llama3",
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    expect(parseConfig({ config: { ...old, rope_theta: 5000, rope_scaling: null } })).toMatchObject({
      d: 16,
      rope: { theta: 5000 },
    });
    expect(parseConfig({ config: { ...old, rope_theta: 5000, rope_scaling: scaling } }).rope).toEqual({
      theta: 5000,
      llama3: { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 8192 },
    });
  });

  test("fields left out have the defaults of LlamaConfig", () => {
    const bare = {
      model_type: "llama",
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      vocab_size: 32,
    };
    expect(parseConfig({ config: bare })).toMatchObject({
      G: 4,
      d: 16,
      contextTokens: 2048,
      normEps: 1e-6,
      rope: { theta: 10000 },
      tiedHead: false,
      bosId: undefined,
      eosIds: [],
    });
  });

  test("generation_config decides what ends a reply", () => {
    expect(parseConfig({ config: llama, generationConfig: { eos_token_id: [2, 7] } }).eosIds).toEqual([2, 7]);
    expect(parseConfig({ config: llama, generationConfig: {} }).eosIds).toEqual([2]);
  });

  test.each(["mistral", "qwen2", "qwen3", "phi3", "gemma3"])("%s is refused by name", (family) => {
    expect(() => parseConfig({ config: golden(family) })).toThrow(
      expect.objectContaining({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining("model_type must be llama but is") }),
    );
  });
});

describe("refusals", () => {
  test.each<[Record<string, unknown>, string]>([
    [{ hidden_size: 0 }, "[config.json] hidden_size must be a whole number from 1 to 16777216 but is 0."],
    [{ hidden_size: "64" }, 'hidden_size must be a whole number from 1 to 16777216 but is "64"'],
    [{ vocab_size: undefined }, "vocab_size must be a whole number from 1 to 16777216 but is undefined"],
    [{ num_hidden_layers: 1.5 }, "num_hidden_layers"],
    [{ num_key_value_heads: 3 }, "must be a multiple of num_key_value_heads but they are 4 and 3"],
    [{ head_dim: null, num_attention_heads: 6 }, "head_dim"],
    [{ rms_norm_eps: -1 }, "rms_norm_eps must be a number above 0 but is -1"],
    [{ rope_parameters: [] }, "must be objects but one is a list of 0"],
    [{ rope_parameters: { rope_theta: 0 } }, "rope_theta must be a number above 0"],
    [
      { rope_parameters: { ...(golden("llama3").rope_parameters as object), high_freq_factor: 1 } },
      "high_freq_factor must be above",
    ],
    [{ tie_word_embeddings: "yes" }, "tie_word_embeddings must be true or false"],
    [{ eos_token_id: 512 }, "eos_token_id must be a whole number from 0 to 511 but is 512"],
    [{ bos_token_id: -1 }, "bos_token_id must be a whole number from 0 to 511"],
  ])("%j is not a config", (changes, message) => {
    expect(refusal(changes)).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining(message) });
  });

  test.each<[Record<string, unknown>, string]>([
    [{ head_dim: 18 }, "head_dim must be a multiple of 4 but is 18"],
    [{ hidden_act: "gelu" }, 'hidden_act must be silu but is "gelu"'],
    [{ attention_bias: true }, "attention_bias must be false but is true"],
    [{ mlp_bias: true }, "mlp_bias must be false but is true"],
    [{ rope_interleaved: true }, "rope_interleaved must be false but is true"],
    [{ rope_parameters: { rope_type: "yarn" } }, 'rope_type must be default or llama3 but is "yarn"'],
    [{ rope_parameters: { partial_rotary_factor: 0.5 } }, "partial_rotary_factor must be 1 but is 0.5"],
    [{ quantization_config: { quant_method: "gptq" } }, "quant_method must be palettized but is gptq"],
    [{ quantization_config: { ...palettized, version: 2 } }, "version must be 1 but is 2"],
    [{ quantization_config: { ...palettized, palette_rows: 32 } }, "palette_rows must be 16 but is 32"],
  ])("%j is beyond this version", (changes, message) => {
    expect(refusal(changes)).toMatchObject({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining(message) });
  });
});

describe("quantization_config", () => {
  const quantization = (changes: object) => ({ quantization_config: { ...palettized, ...changes } });
  const rotation = (changes: object) =>
    quantization({ rotation: { residual: { ...rotationSpec(64, 7), ...changes }, head: null } });

  test("comes back as it was written", () => {
    expect(parseConfig({ config: { ...llama, ...quantization({}) } }).quantization).toEqual(palettized);
    const plain = { residual: null, head: null };
    expect(parseConfig({ config: { ...llama, ...quantization({ rotation: plain }) } }).quantization?.rotation).toEqual(plain);
    const sensitivities = { "model.layers.0.mlp.up_proj": 0.5, "model.layers.0.mlp.down_proj": 0 };
    const dear = parseConfig({ config: { ...llama, ...quantization({ sensitivities }) } });
    expect(dear.quantization).toEqual({ ...palettized, sensitivities });
  });

  test.each<[Record<string, unknown>, string]>([
    [{ quantization_config: 4 }, "quantization_config must be an object"],
    [quantization({ average_bits: Number.NaN }), "average_bits must be a number above 0 but is NaN"],
    [quantization({ sensitivities: [1] }), "sensitivities must be an object"],
    [quantization({ sensitivities: { a: -1 } }), 'sensitivities must be 0 or more but that of "a" is -1'],
    [quantization({ sensitivities: { a: "1" } }), "sensitivities must be 0 or more"],
    [quantization({ rotation: null }), "rotation must be an object"],
    [quantization({ calibration: undefined }), "calibration must be a string but is undefined"],
    [quantization({ source: { name: "x", sha256: "12" } }), "sha256 must be a string like"],
    [rotation({ size: 32 }), "size must be 64, the width that it rotates, but is 32"],
    [rotation({ hadamard: 12 }), "hadamard must be a power of two but is 12"],
    [rotation({ dct: 3 }), "dct * hadamard must be 64 but is 3 * 64"],
    [rotation({ seed: 0.5 }), "seed must be a whole number from 0 to 4294967295 but is 0.5"],
  ])("%j is refused", (changes, message) => {
    expect(refusal(changes)).toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining(message) });
  });
});

test("any change gives a config or an OchreError, never more", () => {
  const full: Record<string, unknown> = { ...golden("llama3"), quantization_config: palettized };
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(full)), fc.jsonValue(), (key, value) => {
      try {
        parseConfig({ config: { ...full, [key]: value } });
      } catch (error) {
        if (!(error instanceof OchreError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
