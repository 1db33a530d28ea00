import { describe, expect, test } from "vitest";
import {
  checkBits,
  checkFinite,
  checkKeptIndex,
  checkPalettizedTensors,
  checkPlainTensors,
  linearShape,
  type ModelSizes,
} from "../../runtime/formats/check-tensors";
import type { DType, TensorInfo } from "../../runtime/formats/checkpoint";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";

const sizes: ModelSizes = { L: 2, D: 64, H: 4, G: 2, d: 12, F: 176, V: 100, tiedHead: true };
type Tensors = Map<string, TensorInfo>;

const put = (tensors: Tensors, name: string, dtype: DType, shape: number[]) =>
  tensors.set(name, { name, dtype, shape, bytes: 0 });

function plain(): Tensors {
  const tensors: Tensors = new Map();
  put(tensors, "model.embed_tokens.weight", "Q8_0", [100, 64]);
  put(tensors, "model.norm.weight", "F32", [64]);
  for (let layer = 0; layer < sizes.L; layer++) {
    put(tensors, `model.layers.${layer}.input_layernorm.weight`, "F32", [64]);
    put(tensors, `model.layers.${layer}.post_attention_layernorm.weight`, "F32", [64]);
    for (const linear of LINEARS) put(tensors, `${linearTensor(layer, linear)}.weight`, "F16", linearShape(sizes, linear));
  }
  return tensors;
}

/** First block 4 bits, second 3, the rest 2. */
function palettized(): Tensors {
  const tensors: Tensors = new Map();
  put(tensors, "model.embed_tokens.int8.0", "I8", [60, 64]);
  put(tensors, "model.embed_tokens.int8.1", "I8", [40, 64]);
  put(tensors, "model.embed_tokens.row_scale", "F16", [100]);
  put(tensors, "model.norm.weight", "F32", [64]);
  for (let layer = 0; layer < sizes.L; layer++)
    for (const linear of LINEARS) {
      const name = linearTensor(layer, linear);
      const [rows, cols] = linearShape(sizes, linear);
      const blocks = Math.ceil(rows / 16);
      const words = Math.ceil(cols / 64) * 4;
      put(tensors, `${name}.plane0`, "U32", [blocks * 16, words]);
      put(tensors, `${name}.plane1`, "U32", [32, words / 2]);
      put(tensors, `${name}.plane2`, "U32", [16, words / 2]);
      put(tensors, `${name}.bits`, "U8", [blocks]);
      put(tensors, `${name}.row_scale`, "F16", [blocks * 16]);
      put(tensors, `${name}.palette4`, "F16", [1, 16]);
      put(tensors, `${name}.palette3`, "F16", [1, 8]);
      if (blocks > 2) put(tensors, `${name}.palette2`, "F16", [blocks - 2, 4]);
    }
  return tensors;
}

test("what is whole passes", () => {
  checkPlainTensors(sizes, plain());
  checkPalettizedTensors(sizes, palettized());
});

test("a head of its own is asked for where it is not tied", () => {
  expect(() => checkPlainTensors({ ...sizes, tiedHead: false }, plain())).toThrow('"lm_head.weight" [100, 64] is missing.');
  expect(() => checkPalettizedTensors({ ...sizes, tiedHead: false }, palettized())).toThrow(
    '"lm_head.row_scale" F16 [100] is missing.',
  );
});

describe("every tensor is needed, in its own shape and type", () => {
  test.each([
    ["plain", plain, checkPlainTensors],
    ["palettized", palettized, checkPalettizedTensors],
  ] as const)("%s", (_, make, check) => {
    for (const [name, info] of make()) {
      const refused = (change: (tensors: Tensors) => void) => {
        const tensors = make();
        change(tensors);
        expect(() => check(sizes, tensors), name).toThrow(expect.objectContaining({ code: "MODEL_FORMAT" }));
      };
      refused((tensors) => tensors.delete(name));
      refused((tensors) => put(tensors, name, info.dtype, [...info.shape, 1]));
      refused((tensors) => put(tensors, name, info.dtype, [info.shape[0] + 1, ...info.shape.slice(1)]));
      refused((tensors) => put(tensors, name, "BOOL", [...info.shape]));
    }
  });

  test("the message has the name, the shape expected and the one found", () => {
    const tensors = plain();
    put(tensors, "model.layers.1.mlp.down_proj.weight", "F16", [176, 64]);
    expect(() => checkPlainTensors(sizes, tensors)).toThrow(
      '[checkpoint] "model.layers.1.mlp.down_proj.weight" must be [64, 176] but is F16 [176, 64].',
    );
  });

  test("planes must have the rows that the palettes imply", () => {
    const tensors = palettized();
    put(tensors, "model.layers.0.mlp.up_proj.plane1", "U32", [48, 2]);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow("must be U32 [32, 2] but is U32 [48, 2]");
    put(tensors, "model.layers.0.mlp.up_proj.palette3", "F16", [2, 8]);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow(
      '"model.layers.0.mlp.up_proj" must have 11 palettes in all, one for 16 rows, but has 1 of 4 bits, 2 of 3 and 9 of 2.',
    );
  });

  test("an endless list of empty embedding parts is refused", () => {
    const tensors = palettized();
    put(tensors, "model.embed_tokens.int8.1", "I8", [0, 64]);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow("must hold some of the 40 rows still missing but holds 0");
  });
});

test("bits must be 2, 3 or 4 and agree with the palettes", () => {
  const tensors = palettized();
  const name = linearTensor(0, "self_attn.q_proj");
  checkBits(name, Uint8Array.of(4, 3, 2), tensors);
  checkBits(name, Uint8Array.of(2, 4, 3), tensors);
  expect(() => checkBits(name, Uint8Array.of(4, 4, 2), tensors)).toThrow('gives 2 blocks 4 bits but "model');
  for (const width of [0, 1, 5, 255])
    expect(() => checkBits(name, Uint8Array.of(4, 3, width), tensors)).toThrow(`must hold 2, 3 and 4 only but holds ${width}`);
});

describe("what may be absent is checked where it is there", () => {
  const DOWN = linearTensor(1, "mlp.down_proj"); // [64, 176]
  const withKept = (index: number[], kept: number[], dtypes: readonly [DType, DType] = ["U32", "F16"]) => {
    const tensors = palettized();
    put(tensors, `${DOWN}.kept_index`, dtypes[0], index);
    put(tensors, `${DOWN}.kept`, dtypes[1], kept);
    return tensors;
  };

  test("kept columns", () => {
    checkPalettizedTensors(sizes, withKept([8], [64, 8]));
    checkPalettizedTensors(sizes, withKept([64], [64, 64]));
    for (const tensors of [
      withKept([8], [64, 7]),
      withKept([8], [63, 8]),
      withKept([8, 1], [64, 8]),
      withKept([8], [64, 8], ["F32", "F16"]),
      withKept([8], [64, 8], ["U32", "F32"]),
      withKept([0], [64, 0]),
      withKept([65], [64, 65]),
    ])
      expect(() => checkPalettizedTensors(sizes, tensors)).toThrow(expect.objectContaining({ code: "MODEL_FORMAT" }));
  });

  test.each(["kept", "kept_index"])("kept columns without their other half: %s", (part) => {
    const tensors = withKept([8], [64, 8]);
    tensors.delete(`${DOWN}.${part}`);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow(`"${DOWN}.${part}"`);
  });

  test("columns that rise within the linear", () => {
    checkKeptIndex(DOWN, Uint32Array.of(0, 3, 175), 176);
    for (const index of [Uint32Array.of(0, 3, 3), Uint32Array.of(3, 1), Uint32Array.of(1, 176), Uint32Array.of(2 ** 32 - 1)])
      expect(() => checkKeptIndex(DOWN, index, 176)).toThrow(
        expect.objectContaining({ code: "MODEL_FORMAT", message: expect.stringContaining("must rise and stay below 176") }),
      );
  });

  test("palettes of the widths that a block contains", () => {
    const tensors = palettized();
    const name = linearTensor(0, "mlp.up_proj");
    put(tensors, `${name}.palette3`, "F16", [2, 8]);
    put(tensors, `${name}.palette2`, "F16", [11, 4]);
    checkPalettizedTensors(sizes, tensors);
    checkBits(name, Uint8Array.of(4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2), tensors);
    expect(() => checkBits(name, Uint8Array.of(4, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2), tensors)).toThrow("gives 2 blocks 4 bits");
    put(tensors, `${name}.palette3`, "F16", [0, 8]);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow("must have 11 palettes in all");
  });

  test("norms of the layers", () => {
    const tensors = palettized();
    put(tensors, "model.layers.0.input_layernorm.weight", "F32", [64]);
    checkPalettizedTensors(sizes, tensors);
    put(tensors, "model.layers.0.input_layernorm.weight", "F32", [63]);
    expect(() => checkPalettizedTensors(sizes, tensors)).toThrow('"model.layers.0.input_layernorm.weight" must be F32 [64]');
  });
});

test("scales and palettes must be finite", () => {
  checkFinite("w.row_scale", Uint16Array.of(0, 0x7bff, 0xfbff, 0x8000));
  for (const bad of [0x7c00, 0xfc00, 0x7e00, 0xffff])
    expect(() => checkFinite("w.row_scale", Uint16Array.of(0, bad))).toThrow(
      expect.objectContaining({ code: "MODEL_FORMAT", details: { tensor: "w.row_scale", entry: 1 } }),
    );
});
