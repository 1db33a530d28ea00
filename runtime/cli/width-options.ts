/** `--bits` and `--average-bits`: a palettized model at fewer bits than it was stored with. */
import type { ModelConfig } from "../engine/config";
import { averageBitsAt, widthsBeforehand } from "../engine/fit-widths";
import type { WidthChoice } from "../engine/width-choice";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import { modelLinears } from "../palettize/plan";
import { readNumber } from "./options";

export interface WidthOptions {
  /** What linears may have at most, by name. */
  bits?: WidthChoice;
  /** Leave planes away until the linears have so many bits a weight at most. */
  averageBits?: number;
}

/** For parseArgs. */
export const WIDTH_OPTIONS = { bits: { type: "string" }, "average-bits": { type: "string" } } as const;

/**
 * `--bits 3`, or for some linears `--bits mlp.down_proj=2,*=3`; the last that fits counts.
 * @throws OchreError INVALID_ARGUMENT for what is neither; which names and widths the model has, is told when it is loaded.
 */
export function readWidths(verb: string, values: { bits?: string; "average-bits"?: string }): WidthOptions {
  const { bits, "average-bits": average } = values;
  return {
    ...(bits !== undefined && { bits: readBits(verb, bits) }),
    ...(average !== undefined && { averageBits: readNumber(verb, "average-bits", average, { min: 1, max: 16 }) }),
  };
}

function readBits(verb: string, text: string): WidthChoice {
  const entries = text.split(",").map((entry) => /^(?:([\w.*]+)=)?([234])$/.exec(entry.trim()));
  if (entries.every((entry) => entry !== null))
    return Object.fromEntries(entries.map(([, name = "*", width]) => [name, Number(width)]));
  throw new OchreError(
    "INVALID_ARGUMENT",
    `[${verb}] --bits must be 2, 3 or 4, or such for some linears like mlp.down_proj=2,self_attn.*=3, but is ${JSON.stringify(text)}.`,
  );
}

/** Bits per weight that the linears of a palettized model come to, palettes and scales counted. Throws as loading does. */
export async function bitsPerWeightAt(checkpoint: Checkpoint, config: ModelConfig, options: WidthOptions): Promise<number> {
  const widths = await widthsBeforehand(config, checkpoint, options);
  const linears = modelLinears(config).map(async ({ name }) => {
    const stored = await checkpoint.readBytes(`${name}.bits`);
    return { name, stored, bits: widths.get(name) ?? stored };
  });
  return averageBitsAt(config, await Promise.all(linears))!;
}
