/** The golden tiny llama with a tokenizer of one token a letter, and what the command line printed. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { vi } from "vitest";
import { makeDirectory } from "./model-directory";

export const tinyLlama = fileURLToPath(new URL("../golden/tiny/llama/", import.meta.url));

/** Ids of the lower-case letters begin here, after the special tokens. */
export const LETTER_A = 3;
const SPECIAL = ["<pad>", "<s>", "</s>"];
const LETTERS = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));

/** A directory that `run` and `eval` take. */
export function makeTextModel(): string {
  const vocabulary = [...SPECIAL, ...LETTERS, "Ġ"];
  return makeDirectory({
    "config.json": JSON.parse(readFileSync(`${tinyLlama}config.json`, "utf8")),
    "model.safetensors": readFileSync(`${tinyLlama}model.safetensors`),
    "tokenizer.json": {
      added_tokens: SPECIAL.map((content, id) => ({ id, content, special: true, normalized: false })),
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])), merges: [] },
    },
    "tokenizer_config.json": {
      chat_template:
        "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}",
    },
  });
}

/** What `work` writes to stdout and, in lines, to stderr. */
export async function captured(work: () => Promise<void>): Promise<{ stdout: string; stderr: string[] }> {
  let stdout = "";
  const stderr: string[] = [];
  const spies = [
    vi.spyOn(console, "log").mockImplementation((line) => {
      stdout += `${line}\n`;
    }),
    vi.spyOn(console, "error").mockImplementation((line) => {
      stderr.push(line);
    }),
    vi.spyOn(process.stdout, "write").mockImplementation((piece) => {
      stdout += piece;
      return true;
    }),
  ];
  try {
    await work();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return { stdout, stderr };
}
