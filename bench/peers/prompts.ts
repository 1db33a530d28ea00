/** What every engine reads. */
import fs from "node:fs";
import path from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import type { Prompt } from "./visit";

const SHORT = "Once upon a time";
const LONG = `Ochre is one of the oldest colours that people have made. It is a clay that holds iron: with water in the
mineral it is yellow, and when it is heated the water leaves and the clay turns red. Painters ground it between stones, washed it
to let the sand sink, and mixed what stayed afloat with fat, egg or oil. It does not fade in the sun, it does no harm to the hand
that spreads it, and it costs almost nothing where the ground is red. For all these reasons it is on the walls of caves, on the
floors of graves, on the sails of fishing boats, on barns and on bricks. A painter who could keep only four colours would keep
ochre, and for a long time many of them did: white, black, red and yellow were all that a portrait needed. What changed was not
the pigment but the market. When chemists learned to make yellows that were brighter, the quarries in the south of France, which
had sent their barrels to every port, fell silent one after the other. Today some of them can be visited.`.replaceAll("\n", " ");

export interface Prompts {
  short: Prompt;
  long: Prompt;
  decode(ids: number[]): string;
}

/** @param model folder with a tokenizer. @param tokens of the long prompt, where its text is that long. */
export function prompts(model: string, tokens: number): Prompts {
  const read = (name: string) => JSON.parse(fs.readFileSync(path.join(model, name), "utf8"));
  const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
  const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const decode = (ids: number[]) => tokenizer.decode(ids, { skip_special_tokens: false });
  const prompt = (text: string) => ({ text, ids: encode(text) });
  return { short: prompt(SHORT), long: prompt(decode(encode(LONG).slice(0, tokens))), decode };
}
