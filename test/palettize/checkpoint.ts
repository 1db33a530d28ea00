/** Synthetic checkpoints for the compiler's tests. */
import type { ModelConfig } from "../../runtime/engine/config";
import { linearShape } from "../../runtime/formats/check-tensors";
import type { Checkpoint, TensorInfo } from "../../runtime/formats/checkpoint";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { normBefore } from "../../runtime/palettize/fold";
import { makeRandom } from "./random";

export function tinyConfig(sizes: Partial<ModelConfig> = {}): ModelConfig {
  return {
    family: "llama",
    L: 2,
    D: 24,
    H: 4,
    G: 2,
    d: 6,
    F: 40,
    V: 50,
    contextTokens: 64,
    normEps: 1e-5,
    rope: { theta: 10000 },
    tiedHead: true,
    eosIds: [2],
    ...sizes,
  };
}

/** F32 tensors of a random llama of this shape; change a tensor through `tensors` before compiling. */
export function tinyCheckpoint(config: ModelConfig, seed = 1) {
  const random = makeRandom(seed);
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>();
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
  return { tensors, checkpoint: memoryCheckpoint("tiny", tensors) };
}

function memoryCheckpoint(name: string, tensors: Map<string, { shape: number[]; values: Float32Array }>): Checkpoint {
  const info = (key: string): TensorInfo => {
    const { shape, values } = tensors.get(key)!;
    return { name: key, dtype: "F32", shape, bytes: values.byteLength };
  };
  const bytes = (key: string) => new Uint8Array(tensors.get(key)!.values.slice().buffer);
  return {
    name,
    files: { config: { model_type: "llama", rope_theta: 10000 }, tokenizer: { model: { type: "BPE" } } },
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
