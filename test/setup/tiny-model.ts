/**
 * Makes a model small enough for logic: the golden tiny llama with a byte-level tokenizer, palettized by the command
 * line into .cache/tiny-llama, where Vite serves it to the browser tests. Its weights are random, so it babbles.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const checkpoint = path.join(root, "test/golden/tiny/llama");
const cache = path.join(root, ".cache");

const SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"];
const VOCABULARY = 512;
const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

export default function setup(): void {
  const source = path.join(cache, "tiny-llama-source");
  fs.rmSync(source, { recursive: true, force: true });
  fs.cpSync(checkpoint, source, { recursive: true });
  writeJson(path.join(source, "tokenizer.json"), tokenizer());
  writeJson(path.join(source, "tokenizer_config.json"), {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<|im_start|>",
    eos_token: "<|im_end|>",
    pad_token: "<pad>",
    model_max_length: 512,
    chat_template: CHAT_TEMPLATE,
  });
  const model = path.join(cache, "tiny-llama");
  fs.rmSync(model, { recursive: true, force: true });
  execFileSync(process.execPath, ["runtime/cli/launch.mjs", "palettize", source, "--out", model], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  flipOneBit(model, path.join(cache, "tiny-llama-flipped"));
}

function writeJson(file: string, value: unknown): void {
  fs.writeFileSync(file, JSON.stringify(value));
}

/** Every byte is a token, after three special ones; words that no text reaches fill the table up to the model's size. */
function tokenizer(): object {
  const symbols = byteSymbols();
  const words = Array.from({ length: VOCABULARY - SPECIAL.length - symbols.length }, (_, i) => `word${i}`);
  const vocabulary = [...SPECIAL, ...symbols, ...words];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: [],
    },
  };
}

/** GPT-2's printable stand-in for each byte: itself where it prints, else the next free character from U+0100 on. */
function byteSymbols(): string[] {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let free = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : free++));
}

/** A copy of a model directory with the last bit of its first shard flipped. */
function flipOneBit(model: string, copy: string): void {
  fs.rmSync(copy, { recursive: true, force: true });
  fs.cpSync(model, copy, { recursive: true });
  const shard = fs.readdirSync(copy).find((file) => file.endsWith(".safetensors"));
  if (!shard) throw new Error(`${copy} holds no shard.`);
  const bytes = fs.readFileSync(path.join(copy, shard));
  bytes[bytes.length - 1] ^= 1;
  fs.writeFileSync(path.join(copy, shard), bytes);
}
