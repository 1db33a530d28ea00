/** A random adapter, and the files that PEFT would keep it in. */
import { bytesSource } from "../../runtime/formats/byte-source";
import { linearShape, type ModelSizes } from "../../runtime/formats/check-tensors";
import { f32ArrayToF16, roundToF16 } from "../../runtime/formats/f16";
import type { JsonObject } from "../../runtime/formats/json";
import { LINEARS, type LinearName, linearTensor } from "../../runtime/formats/palettized";
import type { AdapterWeights, PeftFiles } from "../../runtime/formats/peft";
import { encodeSafetensors, type TensorToWrite } from "../../runtime/formats/safetensors";

/** Uniform numbers of one seed (mulberry32). */
export function uniforms(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface RandomAdapterOptions {
  rank?: number;
  scale?: number;
  linears?: readonly LinearName[];
  layers?: readonly number[];
  /** Largest entry of B; A's are such that A x is about as large as x. */
  size?: number;
}

/** Every value is one that f16 holds. */
export function randomAdapter(sizes: ModelSizes, seed: number, options: RandomAdapterOptions = {}): AdapterWeights {
  const { rank = 4, scale = 2, linears = LINEARS, layers = [...Array(sizes.L).keys()], size = 0.05 } = options;
  const next = uniforms(seed);
  const values = (length: number, most: number) =>
    Float32Array.from({ length }, () => roundToF16((2 * next() - 1) * most * 1.73));
  const adapter: AdapterWeights = { name: `random ${seed}`, rank, scale, linears: new Map() };
  for (const layer of layers)
    for (const linear of linears) {
      const [rows, cols] = linearShape(sizes, linear);
      const low = { rank, a: values(rank * cols, cols ** -0.5), b: values(rows * rank, size) };
      adapter.linears.set(linearTensor(layer, linear), low);
    }
  return adapter;
}

/** As a hand-written LoraConfig and safetensors file, in the element type asked. */
export function peftFiles(adapter: AdapterWeights, config: JsonObject = {}, dtype: "F16" | "BF16" | "F32" = "F16"): PeftFiles {
  const tensors: TensorToWrite[] = [];
  for (const [module, { rank, a, b }] of adapter.linears) {
    const add = (part: string, values: Float32Array, shape: number[]) =>
      tensors.push({ name: `base_model.model.${module}.lora_${part}.weight`, dtype, shape, bytes: encoded(values, dtype) });
    add("A", a, [rank, a.length / rank]);
    add("B", b, [b.length / rank, rank]);
  }
  return {
    config: {
      peft_type: "LORA",
      r: adapter.rank,
      lora_alpha: adapter.scale * adapter.rank,
      target_modules: [...new Set([...adapter.linears.keys()].map((name) => name.slice(name.lastIndexOf(".") + 1)))],
      bias: "none",
      ...config,
    },
    weights: bytesSource("adapter_model.safetensors", encodeSafetensors(tensors)),
  };
}

function encoded(values: Float32Array, dtype: "F16" | "BF16" | "F32"): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  if (dtype === "F16") return new Uint8Array(f32ArrayToF16(values).buffer);
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.slice().buffer), (word) => word >>> 16).buffer);
}
