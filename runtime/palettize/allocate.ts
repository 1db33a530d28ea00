/**
 * How many bits each block of 16 rows gets: the least damage that an average pays for. Blocks climb the lower convex hull of
 * their damage against their size, the steepest steps first (Everett's Lagrange multipliers, 1963): where the bits run out between
 * two steps the result is the best there is, and elsewhere it is off by less than one step.
 */
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { blockBytes, type Extras, keptBytes, type ModelBits, modelLinears } from "./plan";

/** What a block may have; both lists go along with its widths, of which a block that is fixed has one. */
export interface BlockChoices {
  /** Rising. */
  costs: readonly number[];
  damages: readonly number[];
}

interface Step {
  block: number;
  from: number;
  to: number;
  cost: number;
  gain: number;
}

/**
 * The choice of each block, with costs of at most `budget` together. Equal steps are taken in the order of the blocks.
 * @throws OchreError INVALID_ARGUMENT where even the least that the blocks can have is beyond the budget.
 */
export function allocate(blocks: readonly BlockChoices[], budget: number): Uint8Array {
  const chosen = new Uint8Array(blocks.length);
  let left = blocks.reduce((room, { costs }) => room - costs[0], budget);
  if (left < 0) {
    const least = budget - left;
    throw new OchreError("INVALID_ARGUMENT", `[palettize] bits must suffice for ${least} but there are ${budget}.`, {
      details: { least, budget },
    });
  }
  const take = ({ block, to, cost }: Step) => {
    chosen[block] = to;
    left -= cost;
  };
  const steps = blocks.flatMap(hullSteps);
  steps.sort((a, b) => b.gain / b.cost - a.gain / a.cost);
  for (const step of steps) if (chosen[step.block] === step.from && step.cost <= left) take(step);
  // What is left is less than the next step of the hull; a smaller one beside it may still fit.
  for (let step = bestStep(blocks, chosen, left); step; step = bestStep(blocks, chosen, left)) take(step);
  return chosen;
}

const stepOf = ({ costs, damages }: BlockChoices, block: number, from: number, to: number): Step => ({
  block,
  from,
  to,
  cost: costs[to] - costs[from],
  gain: damages[from] - damages[to],
});

const steeper = (a: Step, b: Step | undefined): boolean => b === undefined || a.gain / a.cost > b.gain / b.cost;

/** From the first choice up the lower convex hull, each step less steep than the one before. */
function hullSteps(choices: BlockChoices, block: number): Step[] {
  const steps: Step[] = [];
  for (let at = 0; ; ) {
    let best: Step | undefined;
    for (let to = at + 1; to < choices.costs.length; to++) {
      const step = stepOf(choices, block, at, to);
      if (step.gain > 0 && steeper(step, best)) best = step;
    }
    if (!best) return steps;
    steps.push(best);
    at = best.to;
  }
}

function bestStep(blocks: readonly BlockChoices[], chosen: Uint8Array, left: number): Step | undefined {
  let best: Step | undefined;
  blocks.forEach((choices, block) => {
    for (let to = chosen[block] + 1; to < choices.costs.length; to++) {
      const step = stepOf(choices, block, chosen[block], to);
      if (step.cost <= left && step.gain > 0 && steeper(step, best)) best = step;
    }
  });
  return best;
}

export interface Allocation {
  /** Bits per weight of the linears that must not be exceeded, palettes, row scales, kept columns and padding counted. */
  averageBits: number;
  /** Rising, of 2, 3 and 4; all of them by default. */
  widths?: readonly number[];
  /** Linear (`model.layers.0.mlp.down_proj`) to what a unit of its output error costs; 1 where it is not named. */
  sensitivities?: Readonly<Record<string, number>>;
  /** Linear, or the end of its name (`mlp.down_proj`), to the width that all its blocks have; the first that fits counts. */
  fix?: Readonly<Record<string, number>>;
}

export const ALL_WIDTHS = [2, 3, 4];

/** The widths that the blocks of this linear may have. */
export function widthsOf(name: string, { widths = ALL_WIDTHS, fix = {} }: Allocation): readonly number[] {
  const ending = Object.keys(fix).find((key) => name === key || name.endsWith(`.${key}`));
  return ending === undefined ? widths : [fix[ending]];
}

/** Whether there is anything to choose. */
export const hasChoice = (config: ModelConfig, allocation: Allocation): boolean =>
  modelLinears(config).some(({ name }) => widthsOf(name, allocation).length > 1);

/** Linear to one list for each of `widthsOf` it: the output error of every block at that width. */
export type Damages = ReadonlyMap<string, readonly Float64Array[]>;

/**
 * Bits for every linear of a model.
 * @throws OchreError INVALID_ARGUMENT where the average cannot be reached.
 */
export function allocateBits(config: ModelConfig, damages: Damages, allocation: Allocation, extras: Extras = {}): ModelBits {
  const blocks: BlockChoices[] = [];
  let weights = 0;
  const linears = modelLinears(config);
  for (const { name, rows, cols, blocks: count } of linears) {
    weights += rows * cols;
    const widths = widthsOf(name, allocation);
    const costs = widths.map((width) => 8 * blockBytes(width, cols, extras));
    const sensitivity = allocation.sensitivities?.[name] ?? 1;
    for (let block = 0; block < count; block++)
      blocks.push({ costs, damages: widths.map((_, i) => sensitivity * (damages.get(name)?.[i][block] ?? 0)) });
  }
  const chosen = allocate(blocks, allocation.averageBits * weights - 8 * keptBytes(config, extras));
  const bits = new Map<string, Uint8Array>();
  let at = 0;
  for (const { name, blocks: count } of linears) {
    const widths = widthsOf(name, allocation);
    bits.set(
      name,
      Uint8Array.from(chosen.subarray(at, at + count), (choice) => widths[choice]),
    );
    at += count;
  }
  return bits;
}

/**
 * @throws OchreError INVALID_ARGUMENT where it makes no sense for this model: widths that there are not, names of no linear,
 *   sensitivities below 0, or an average that cannot be reached.
 */
export function checkAllocation(config: ModelConfig, allocation: Allocation, extras: Extras = {}): void {
  const { averageBits, widths = ALL_WIDTHS, sensitivities = {}, fix = {} } = allocation;
  if (!(averageBits > 0 && averageBits <= 16))
    throw invalid(`the average must be above 0 and at most 16 bits but is ${averageBits}.`);
  const rising = widths.every((width, i) => ALL_WIDTHS.includes(width) && (i === 0 || width > widths[i - 1]));
  if (widths.length === 0 || !rising) throw invalid(`widths must be some of 2, 3 and 4, rising, but are ${widths.join(",")}.`);
  const linears = modelLinears(config);
  const names = linears.map(({ name }) => name);
  for (const [key, width] of Object.entries(fix)) {
    if (!ALL_WIDTHS.includes(width)) throw invalid(`a fixed width must be 2, 3 or 4 but that of ${key} is ${width}.`);
    if (!names.some((name) => name === key || name.endsWith(`.${key}`))) throw invalid(`no linear is called ${key}.`);
  }
  checkSensitivities(config, sensitivities);
  let [bytes, weights] = [keptBytes(config, extras), 0];
  for (const { name, rows, cols, blocks } of linears) {
    bytes += blocks * blockBytes(widthsOf(name, allocation)[0], cols, extras);
    weights += rows * cols;
  }
  const least = (8 * bytes) / weights;
  if (least > averageBits) {
    throw invalid(
      `the average must be ${least.toFixed(4)} bits or more for these widths, palettes, scales and kept columns counted, but is ${averageBits}.`,
    );
  }
}

/** @throws OchreError INVALID_ARGUMENT for names of no linear of this model, and for values below 0. */
export function checkSensitivities(config: ModelConfig, sensitivities: Readonly<Record<string, number>>): void {
  const names = modelLinears(config).map(({ name }) => name);
  for (const [name, sensitivity] of Object.entries(sensitivities)) {
    if (!names.includes(name)) throw invalid(`sensitivities must be of this model's linears but name ${name.slice(0, 100)}.`);
    if (!(sensitivity >= 0 && sensitivity < Number.POSITIVE_INFINITY))
      throw invalid(`sensitivities must be 0 or more but that of ${name} is ${sensitivity}.`);
  }
}

const invalid = (what: string): OchreError => new OchreError("INVALID_ARGUMENT", `[palettize] ${what}`);
