/** Synthetic checkpoints for the compiler's tests. */
import type { ModelConfig } from "../../runtime/engine/config";
import { linearShape } from "../../runtime/formats/check-tensors";
import type { Checkpoint, TensorInfo } from "../../runtime/formats/checkpoint";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { normBefore } from "../../runtime/palettize/fold";
import { makeRandom } from "./random";

/** Widths that fill neither blocks of 16 rows nor 64 columns. */
export function tinyConfig(sizes: Partial<ModelConfig> = {}): ModelConfig {
  return {
    family: "llama",
    L: 2,
    D: 24,
    H: 3,
    G: 1,
    d: 8,
    F: 40,
    V: 50,
    contextTokens: 64,
    normEps: 1e-5,
    rope: { theta: 10000 },
    tiedHead: true,
    bosId: 1,
    eosIds: [2],
    ...sizes,
  };
}

/** `config.json` of such a model. */
export const tinyConfigJson = (config: ModelConfig) => ({
  model_type: "llama",
  hidden_size: config.D,
  intermediate_size: config.F,
  num_hidden_layers: config.L,
  num_attention_heads: config.H,
  num_key_value_heads: config.G,
  head_dim: config.d,
  vocab_size: config.V,
  max_position_embeddings: config.contextTokens,
  rms_norm_eps: config.normEps,
  rope_theta: config.rope.theta,
  tie_word_embeddings: config.tiedHead,
  bos_token_id: config.bosId,
  eos_token_id: config.eosIds,
});

interface Values {
  shape: number[];
  values: Float32Array;
}

/** F32 tensors of a random llama of this shape; a test may change `tensors` before it compiles. */
export function tinyCheckpoint(config: ModelConfig, seed = 1) {
  const random = makeRandom(seed);
  const tensors = new Map<string, Values>();
  const add = (name: string, ...shape: number[]) =>
    tensors.set(name, { shape, values: random.normals(shape.reduce((a, b) => a * b)) });
  add("model.embed_tokens.weight", config.V, config.D);
  for (let layer = 0; layer < config.L; layer++) {
    for (const linear of LINEARS) {
      add(`${linearTensor(layer, linear)}.weight`, ...linearShape(config, linear));
      const norm = `model.layers.${layer}.${normBefore(linear)}.weight`;
      if (normBefore(linear) && !tensors.has(norm)) add(norm, config.D);
    }
  }
  add("model.norm.weight", config.D);
  if (!config.tiedHead) add("lm_head.weight", config.V, config.D);
  return { tensors, checkpoint: memoryCheckpoint(config, tensors) };
}

function memoryCheckpoint(config: ModelConfig, tensors: Map<string, Values>): Checkpoint {
  const info = (key: string): TensorInfo => {
    const { shape, values } = tensors.get(key)!;
    return { name: key, dtype: "F32", shape, bytes: values.byteLength };
  };
  const bytes = (key: string) => new Uint8Array(tensors.get(key)!.values.slice().buffer);
  return {
    name: "tiny",
    files: { config: tinyConfigJson(config), tokenizer: { model: { type: "BPE" } }, generationConfig: { eos_token_id: 2 } },
    get tensors() {
      return new Map([...tensors.keys()].map((key) => [key, info(key)]));
    },
    read: async (key) => tensors.get(key)!.values.slice(),
    readBytes: async (key) => bytes(key),
    async *stream() {
      for (const key of tensors.keys()) yield { info: info(key), bytes: bytes(key) };
    },
  };
}
