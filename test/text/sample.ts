/** The sample model's tokenizer and what transformers computed with it. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { Tokenizer } from "../../runtime/text/tokenizer";

const golden = (name: string) => readFileSync(new URL(`../golden/${name}`, import.meta.url));
const json = (name: string) => JSON.parse(golden(name).toString("utf8"));

export const tokenizerJson = JSON.parse(gunzipSync(golden("tokenizer.json.gz")).toString("utf8"));
export const tokenizerConfig = json("tokenizer_config.json");
export const tokenizer = Tokenizer.create(tokenizerJson, tokenizerConfig);

export const tokenizerCases: {
  cases: { text: string; ids: number[]; decoded: string; decoded_skip_special: string }[];
  /** Their bytes are not in the vocabulary and get lost. */
  lossy: string[];
  streaming: { text: string; ids: number[]; prefix_decodes: string[] }[];
} = json("tokenizer_cases.json");

export const chatCases: {
  chat_template: string;
  cases: {
    messages: { role: string; content: string }[];
    add_generation_prompt: boolean;
    rendered: string;
    ids: number[];
  }[];
} = json("chat_cases.json");
