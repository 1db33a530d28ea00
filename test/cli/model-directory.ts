/** Model directories on disk for the tests of the command line. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { linearShape } from "../../runtime/formats/check-tensors";
import type { DType } from "../../runtime/formats/checkpoint";
import { BLOCKS } from "../../runtime/formats/dequantize";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { rotationSpec } from "../../runtime/formats/rotation";
import { encodeSafetensors, type TensorToWrite } from "../../runtime/formats/safetensors";

/** A fresh directory with these files; it goes away with the test file. */
export function makeDirectory(files: Record<string, unknown>): string {
  const directory = mkdtempSync(path.join(tmpdir(), "ochre-test-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files))
    writeFileSync(
      path.join(directory, name),
      content instanceof Uint8Array || typeof content === "string" ? content : JSON.stringify(content),
    );
  return directory;
}

const sizes = { L: 1, D: 64, H: 4, G: 2, d: 16, F: 128, V: 32, tiedHead: true };

export const plainConfig = {
  model_type: "llama",
  hidden_size: sizes.D,
  intermediate_size: sizes.F,
  num_hidden_layers: sizes.L,
  num_attention_heads: sizes.H,
  num_key_value_heads: sizes.G,
  vocab_size: sizes.V,
  tie_word_embeddings: true,
};

const zeros = (name: string, dtype: DType, shape: number[]): TensorToWrite => ({
  name,
  dtype,
  shape,
  bytes: new Uint8Array(shape.reduce((a, b) => a * b, BLOCKS[dtype].bytes)),
});

/** A palettized model of zeros in two shards: the first block of each linear has 3 bits, the others 2. */
export function palettizedModel() {
  const first = [
    zeros("model.embed_tokens.int8.0", "I8", [sizes.V, sizes.D]),
    zeros("model.embed_tokens.row_scale", "F16", [sizes.V]),
  ];
  const second = [zeros("model.norm.weight", "F32", [sizes.D])];
  for (const linear of LINEARS) {
    const name = linearTensor(0, linear);
    const [rows, cols] = linearShape(sizes, linear);
    second.push(
      zeros(`${name}.plane0`, "U32", [rows, cols / 16]),
      zeros(`${name}.plane1`, "U32", [16, cols / 32]),
      zeros(`${name}.bits`, "U8", [rows / 16]),
      zeros(`${name}.palette3`, "F16", [1, 8]),
      zeros(`${name}.palette2`, "F16", [rows / 16 - 1, 4]),
      zeros(`${name}.row_scale`, "F16", [rows]),
    );
  }
  const shards: Record<string, Uint8Array> = {
    "model-00001-of-00002.safetensors": encodeSafetensors(first),
    "model-00002-of-00002.safetensors": encodeSafetensors(second),
  };
  const names = Object.keys(shards);
  const quantization = {
    quant_method: "palettized",
    version: 1,
    palette_rows: 16,
    average_bits: 2.5,
    rotation: { residual: rotationSpec(sizes.D, 3), head: null },
    calibration: "data-free",
    source: { name: "zeros" },
  };
  const config = { ...plainConfig, quantization_config: quantization };
  const index = {
    metadata: { total_size: shards[names[0]].length + shards[names[1]].length },
    weight_map: Object.fromEntries([first, second].flatMap((list, i) => list.map(({ name }) => [name, names[i]]))),
    shards: names.map((name, i) => ({ name, bytes: shards[name].length, sha256: `${i}`.repeat(64) })),
  };
  return { index, shards, files: { "config.json": config, "model.safetensors.index.json": index, ...shards } };
}
