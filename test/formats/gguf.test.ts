import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../runtime/engine/config";
import { OchreError } from "../../runtime/errors";
import { bytesSource } from "../../runtime/formats/byte-source";
import { checkPlainTensors } from "../../runtime/formats/check-tensors";
import type { DType } from "../../runtime/formats/checkpoint";
import { BLOCKS } from "../../runtime/formats/dequantize";
import { openGguf } from "../../runtime/formats/gguf";
import { encodeGguf, f32, type GgufTensorToWrite, type GgufValue, i32s, string, strings, u32 } from "./gguf-file";

const D = 32;
const V = 6;

const metadata: Record<string, GgufValue> = {
  "general.architecture": string("llama"),
  "llama.block_count": u32(1),
  "llama.context_length": u32(128),
  "llama.embedding_length": u32(D),
  "llama.feed_forward_length": u32(48),
  "llama.attention.head_count": u32(4),
  "llama.attention.head_count_kv": u32(2),
  "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
  "llama.rope.freq_base": f32(1e5),
  "llama.rope.dimension_count": u32(8),
  "tokenizer.ggml.model": string("gpt2"),
  "tokenizer.ggml.pre": string("smollm"),
  "tokenizer.ggml.tokens": strings(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab"]),
  "tokenizer.ggml.token_type": i32s([3, 3, 3, 1, 1, 1]),
  "tokenizer.ggml.merges": strings(["a b"]),
  "tokenizer.ggml.bos_token_id": u32(1),
  "tokenizer.ggml.eos_token_id": u32(2),
};

/** f32, each value its row's number, so that moved rows show. */
function rows(name: string, ...shape: number[]): GgufTensorToWrite {
  const cols = shape.at(-1)!;
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.floor(i / cols));
  return { name, shape, type: 0, bytes: new Uint8Array(values.buffer) };
}

const tensors: GgufTensorToWrite[] = [
  rows("token_embd.weight", V, D),
  rows("blk.0.attn_norm.weight", D),
  rows("blk.0.attn_q.weight", 32, D),
  // Q8_0 with scale 1: each row's 32 codes are its number.
  {
    name: "blk.0.attn_k.weight",
    shape: [16, D],
    type: 8,
    bytes: Uint8Array.from({ length: 16 * 34 }, (_, i) => [0x00, 0x3c][i % 34] ?? Math.floor(i / 34)),
  },
  rows("blk.0.attn_v.weight", 16, D),
  rows("blk.0.attn_output.weight", D, 32),
  rows("blk.0.ffn_norm.weight", D),
  rows("blk.0.ffn_gate.weight", 48, D),
  rows("blk.0.ffn_up.weight", 48, D),
  rows("blk.0.ffn_down.weight", D, 48),
  rows("output_norm.weight", D),
];

const open = (changes: Record<string, GgufValue> = {}, list = tensors) =>
  openGguf(bytesSource("tiny.gguf", encodeGguf({ ...metadata, ...changes }, list)));

/** Which row of the file stands in each row of what was read. */
const order = (values: Float32Array): number[] => Array.from({ length: values.length / D }, (_, r) => values[r * D]);
/** Heads of 8 rows: neighbours come apart into halves. */
const unpermuted = (heads: number): number[] =>
  Array.from({ length: heads }, (_, h) => [0, 2, 4, 6, 1, 3, 5, 7].map((row) => 8 * h + row)).flat();

test("names, shapes and configuration are Hugging Face's", async () => {
  const { files, tensors: found } = await open();
  const config = parseConfig(files);
  expect(config).toMatchObject({ L: 1, D, H: 4, G: 2, d: 8, F: 48, V, contextTokens: 128, tiedHead: true });
  expect(config).toMatchObject({ normEps: 1e-5, rope: { theta: 100000 }, bosId: 1, eosIds: [2] });
  checkPlainTensors(config, found);
  expect(found.size).toBe(11);
  expect(found.get("model.layers.0.mlp.down_proj.weight")).toEqual({
    name: "model.layers.0.mlp.down_proj.weight",
    dtype: "F32",
    shape: [D, 48],
    bytes: 6144,
  });
});

test.each<[number, DType]>([
  [6, "Q5_0"],
  [7, "Q5_1"],
  [20, "IQ4_NL"],
  [39, "MXFP4"],
])("weights may be of type %i, %s", async (type, dtype) => {
  const bytes = new Uint8Array(BLOCKS[dtype].bytes * 16);
  const list = tensors.map((tensor) => (tensor.name === "blk.0.attn_v.weight" ? { ...tensor, type, bytes } : tensor));
  const checkpoint = await open({}, list);
  checkPlainTensors(parseConfig(checkpoint.files), checkpoint.tensors);
  expect(await checkpoint.read("model.layers.0.self_attn.v_proj.weight")).toHaveLength(16 * D);
});

test("a head of its own", async () => {
  const { files, tensors: found } = await open({}, [...tensors, rows("output.weight", V, D)]);
  expect(parseConfig(files).tiedHead).toBe(false);
  expect(found.get("lm_head.weight")?.shape).toEqual([V, D]);
});

describe("Llama 3.1's RoPE, stored as divisors", () => {
  const theta = { "llama.rope.freq_base": f32(5e5) };
  // Its rule at factor 32 and head size 8, by transformers' formula in numpy.
  const divisors = [1, 1, 3.2922628, 32];
  const withDivisors = (values: number[]) => [
    ...tensors,
    { name: "rope_freqs.weight", shape: [values.length], type: 0, bytes: new Uint8Array(new Float32Array(values).buffer) },
  ];

  test("comes back as the rule", async () => {
    const { files, tensors: found } = await open(theta, withDivisors(divisors));
    expect(parseConfig(files).rope).toEqual({
      theta: 500000,
      llama3: { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 8192 },
    });
    expect(found.size).toBe(11);
  });

  test.each([[[1, 1, 2, 32]], [[1, 1, 3.2922628]], [[1, 1, Number.NaN, 32]], [[0, 0, 0, 0]]])(
    "%j does not follow it",
    async (values) => {
      await expect(open(theta, withDivisors(values))).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    },
  );
});

test("q and k rows are back in order, read or streamed; other rows stay", async () => {
  const checkpoint = await open();
  expect(order(await checkpoint.read("model.layers.0.self_attn.q_proj.weight"))).toEqual(unpermuted(4));
  expect(order(await checkpoint.read("model.layers.0.self_attn.k_proj.weight"))).toEqual(unpermuted(2));
  expect(order(await checkpoint.read("model.layers.0.self_attn.v_proj.weight"))).toEqual([...Array(16).keys()]);
  const streamed: string[] = [];
  for await (const { info, bytes } of checkpoint.stream()) {
    streamed.push(info.name);
    expect(bytes, info.name).toEqual(await checkpoint.readBytes(info.name));
  }
  expect(streamed).toEqual([...checkpoint.tensors.keys()]);
});

describe("refusals", () => {
  test.each<[Record<string, GgufValue>, GgufTensorToWrite[], string]>([
    [{ "general.architecture": string("qwen2") }, tensors, 'general.architecture must be llama but is "qwen2"'],
    [{ "split.count": u32(3) }, tensors, "must be one file but is one of 3"],
    [{ "llama.rope.dimension_count": u32(4) }, tensors, "llama.rope.dimension_count must be the head size, 8, but is 4"],
    [{}, [...tensors, rows("blk.0.attn_q.bias", 32)], 'tensor "blk.0.attn_q.bias" is none of a plain llama model\'s'],
    [{}, [...tensors, rows("constructor.weight", 32)], 'tensor "constructor.weight" is none'],
  ])("%j is beyond this version", async (changes, list, message) => {
    await expect(open(changes, list)).rejects.toMatchObject({
      code: "MODEL_UNSUPPORTED",
      message: expect.stringContaining(message),
    });
  });

  test("scaled RoPE is carried over, for parseConfig to refuse", async () => {
    const { files } = await open({ "llama.rope.scaling.type": string("yarn") });
    expect(() => parseConfig(files)).toThrow('rope_type must be default or llama3 but is "yarn"');
  });

  test.each<[string, Record<string, GgufValue>, GgufTensorToWrite[], string]>([
    ["no layers", { "llama.block_count": u32(0) }, tensors, "llama.block_count must be a whole number"],
    [
      "no width",
      { "llama.embedding_length": string("wide") },
      tensors,
      'llama.embedding_length must be a whole number from 1 to 16777216 but is "wide"',
    ],
    [
      "q rows that heads do not divide",
      {},
      tensors.map((t) => (t.name === "blk.0.attn_q.weight" ? rows(t.name, 30, D) : t)),
      "must have an even number of rows for each of 4 heads but is [30,32]",
    ],
  ])("%s", async (_, changes, list, message) => {
    await expect(open(changes, list)).rejects.toMatchObject({ code: "MODEL_FORMAT", message: expect.stringContaining(message) });
  });

  test("a tensor that is not there", async () => {
    await expect((await open()).read("lm_head.weight")).rejects.toThrow('[tiny.gguf] there is no tensor "lm_head.weight".');
  });
});

test("any damage gives a checkpoint or an OchreError, never more", async () => {
  const good = encodeGguf(metadata, tensors);
  const header = good.length - tensors.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const edit = fc.tuple(fc.nat(header), fc.oneof(fc.constantFrom(0, 1, 127, 255), fc.nat(255)));
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
      const bytes = good.slice();
      for (const [at, value] of edits) bytes[at] = value;
      try {
        const checkpoint = await openGguf(bytesSource("tiny.gguf", bytes));
        parseConfig(checkpoint.files);
        for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
      } catch (error) {
        if (!(error instanceof OchreError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
