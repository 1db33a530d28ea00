/** A GGUF file as llama.cpp's converter would make it of a small llama with random weights and a byte-level vocabulary: it babbles. */
import { makeRandom } from "../palettize/random";
import { encodeGguf, f32, type GgufTensorToWrite, i32s, string, strings, u32 } from "./gguf-file";

const SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"];
const V = 512;
const D = 64;
const F = 176;
const HEADS = { query: 4, kv: 2, size: 16 };

export const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** GPT-2's printable stand-in for each byte: itself where it prints, else the next free character from U+0100 on. */
export function byteSymbols(): string[] {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let free = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : free++));
}

export function tinyGguf({ layers = 2, architecture = "llama" } = {}): Uint8Array<ArrayBuffer> {
  const random = makeRandom(7);
  const tensors: GgufTensorToWrite[] = [];
  const add = (name: string, ...shape: number[]) => {
    const values = random.normals(shape.reduce((a, b) => a * b)).map((value) => value / Math.sqrt(D));
    tensors.push({ name: `${name}.weight`, shape, type: 0, bytes: new Uint8Array(values.buffer) });
  };
  add("token_embd", V, D);
  for (let layer = 0; layer < layers; layer++) {
    add(`blk.${layer}.attn_norm`, D);
    add(`blk.${layer}.attn_q`, HEADS.query * HEADS.size, D);
    add(`blk.${layer}.attn_k`, HEADS.kv * HEADS.size, D);
    add(`blk.${layer}.attn_v`, HEADS.kv * HEADS.size, D);
    add(`blk.${layer}.attn_output`, D, HEADS.query * HEADS.size);
    add(`blk.${layer}.ffn_norm`, D);
    add(`blk.${layer}.ffn_gate`, F, D);
    add(`blk.${layer}.ffn_up`, F, D);
    add(`blk.${layer}.ffn_down`, D, F);
  }
  add("output_norm", D);
  const words = [...SPECIAL, ...byteSymbols()];
  const vocabulary = [...words, ...Array.from({ length: V - words.length }, (_, i) => `word${i}`)];
  const metadata = {
    "general.architecture": string(architecture),
    "llama.block_count": u32(layers),
    "llama.context_length": u32(512),
    "llama.embedding_length": u32(D),
    "llama.feed_forward_length": u32(F),
    "llama.attention.head_count": u32(HEADS.query),
    "llama.attention.head_count_kv": u32(HEADS.kv),
    "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
    "llama.rope.freq_base": f32(1e4),
    "llama.rope.dimension_count": u32(HEADS.size),
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("gpt-2"),
    "tokenizer.ggml.tokens": strings(vocabulary),
    "tokenizer.ggml.token_type": i32s(vocabulary.map((_, id) => (id < SPECIAL.length ? 3 : 1))),
    "tokenizer.ggml.merges": strings([]),
    "tokenizer.ggml.bos_token_id": u32(1),
    "tokenizer.ggml.eos_token_id": u32(2),
    "tokenizer.ggml.padding_token_id": u32(0),
    "tokenizer.chat_template": string(CHAT_TEMPLATE),
  };
  return Uint8Array.from(encodeGguf(metadata, tensors));
}
