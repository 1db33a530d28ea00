/** Which planes to leave away so that a model's linears take no more bits than a budget: those of the least harmful blocks. */
import { OchreError } from "../errors";
import { checkBits } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { view } from "../formats/dequantize";
import { f16ToF32 } from "../formats/f16";
import { BlockPalettes, narrowingError } from "../formats/narrow";
import { PALETTE_ROWS } from "../formats/palettized";
import { allocate, type BlockChoices } from "../palettize/allocate";
import { blockBytes, modelLinears } from "../palettize/plan";
import type { ModelConfig } from "./config";
import { chooseBits, type WidthChoice } from "./width-choice";

/** Of one linear, by blocks of 16 rows. */
export interface BlockWidths {
  stored: Uint8Array;
  /** What they are to have, each at most what is stored. */
  bits: Uint8Array;
}

/**
 * The widths of every block with which the linears have at most `averageBits` a weight, palettes and row scales counted. The harm
 * of a narrower code is the squared error that merging palette entries makes, in the units of the weights, times what the
 * model says that such an error costs in this linear (`quantization_config.sensitivities`; 1 where it says nothing). Reads bits, palettes and
 * row scales, which stand beside plane0, and no plane.
 * @throws OchreError INVALID_ARGUMENT where the average is below what 2 bits everywhere take; MODEL_FORMAT for impossible bits.
 */
export async function fitWidths(
  config: ModelConfig,
  checkpoint: Checkpoint,
  averageBits: number,
): Promise<Map<string, BlockWidths>> {
  const linears = modelLinears(config);
  const blocks: BlockChoices[] = [];
  const widths = new Map<string, BlockWidths>();
  let [weights, twoBits, all] = [0, 0, 0];
  for (const { name, rows, cols } of linears) {
    weights += rows * cols;
    const { bits: stored, errors } = await readErrors(checkpoint, name);
    widths.set(name, { stored, bits: stored.slice() });
    const sensitivity = config.quantization?.sensitivities?.[name] ?? 1;
    for (const [block, width] of stored.entries()) {
      twoBits += 8 * blockBytes(2, cols);
      all += 8 * blockBytes(width, cols);
      blocks.push({
        costs: WIDTHS.slice(0, width - 1).map((narrower) => 8 * blockBytes(narrower, cols)),
        damages: errors[block].map((error) => sensitivity * cols * error),
      });
    }
  }
  // Kept columns and the palettes that an elastic model has besides: they stay.
  const besides = Math.max(0, (config.quantization?.average_bits ?? 0) - all / weights);
  const least = besides + twoBits / weights;
  if (!(averageBits >= least)) {
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[load] averageBits must be at least ${least.toFixed(3)} for this model, palettes and scales counted, but is ${averageBits}.`,
      { details: { least, averageBits } },
    );
  }
  let block = 0;
  const chosen = allocate(blocks, (averageBits - besides) * weights);
  for (const { bits } of widths.values()) for (let i = 0; i < bits.length; i++) bits[i] = WIDTHS[chosen[block++]];
  return widths;
}

/**
 * What every linear of a model is to have where widths are chosen before it is read: those that fit an average, and of those what
 * names allow. A linear that is absent has all that is stored.
 * @throws OchreError INVALID_ARGUMENT as fitWidths and chooseBits do, or where the model is not palettized.
 */
export async function widthsBeforehand(
  config: ModelConfig,
  checkpoint: Checkpoint,
  { averageBits, bits }: { averageBits?: number; bits?: WidthChoice },
): Promise<Map<string, Uint8Array>> {
  if (averageBits === undefined && bits === undefined) return new Map();
  checkPalettized(config);
  const fitted = averageBits === undefined ? undefined : await fitWidths(config, checkpoint, averageBits);
  const result = new Map(Array.from(fitted ?? [], ([name, widths]): [string, Uint8Array] => [name, widths.bits]));
  if (!bits) return result;
  const linears = await Promise.all(
    modelLinears(config).map(async ({ name }) => ({ name, stored: { bits: await checkpoint.readBytes(`${name}.bits`) } })),
  );
  for (const [name, chosen] of chooseBits(bits, linears)) result.set(name, chosen);
  return result;
}

/** Bits per weight of a model's linears at other widths than stored, palettes and scales counted; undefined where it is plain. */
export function averageBitsAt(config: ModelConfig, widths: readonly ({ name: string } & BlockWidths)[]): number | undefined {
  if (!config.quantization) return undefined;
  const linears = new Map(modelLinears(config).map((linear) => [linear.name, linear]));
  let [dropped, weights] = [0, 0];
  for (const { name, stored, bits } of widths) {
    const { rows, cols } = linears.get(name)!;
    weights += rows * cols;
    for (const [block, width] of bits.entries()) dropped += blockBytes(stored[block], cols) - blockBytes(width, cols);
  }
  return config.quantization.average_bits - (8 * dropped) / weights;
}

/** @throws OchreError INVALID_ARGUMENT where a model has no planes to leave away. */
export function checkPalettized({ quantization }: ModelConfig): void {
  if (quantization) return;
  throw new OchreError(
    "INVALID_ARGUMENT",
    "[load] averageBits and bits need a palettized model, but this one's weights are plain.",
  );
}

const WIDTHS = [2, 3, 4] as const;

/** A linear's bits, and for each block the squared error of one column at 2 bits, at 3, and so on up to none at its own width. */
async function readErrors(checkpoint: Checkpoint, name: string): Promise<{ bits: Uint8Array; errors: number[][] }> {
  const halves = async (part: string) =>
    checkpoint.tensors.has(`${name}.${part}`) ? view(await checkpoint.readBytes(`${name}.${part}`), Uint16Array) : undefined;
  const bits = (await checkpoint.readBytes(`${name}.bits`)).slice();
  checkBits(name, bits, checkpoint.tensors);
  const [palette4, palette3, palette2] = [await halves("palette4"), await halves("palette3"), await halves("palette2")];
  const rowScale = (await halves("row_scale"))!;
  const palettes = new BlockPalettes({ bits, palette4, palette3, palette2 });
  const errors = Array.from(bits, (width, block) => {
    let squares = 0;
    for (let r = block * PALETTE_ROWS; r < (block + 1) * PALETTE_ROWS; r++) squares += f16ToF32(rowScale[r]) ** 2;
    const own = palettes.at(block, width);
    return WIDTHS.slice(0, width - 1).map((narrower) => (narrower === width ? 0 : squares * narrowingError(own, narrower)));
  });
  return { bits, errors };
}

/** Of a checkpoint's tensors, those that hold something of what `widths` leave: all of them without widths. */
export function wantedTensors(widths: ReadonlyMap<string, BlockWidths> | undefined): (name: string) => boolean {
  return (name) => {
    const plane = /^(.*)\.plane([12])$/.exec(name);
    const narrowed = plane && widths?.get(plane[1]);
    return !narrowed || narrowed.bits.some((width) => width >= 2 + Number(plane[2]));
  };
}
