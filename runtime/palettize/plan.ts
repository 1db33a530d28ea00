/** What a palettized model consists of, from its sizes alone: every tensor's name, type and shape, in load order. */
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import { COLUMN_MULTIPLE, LINEARS, linearTensor, NORMS, normTensor, PALETTE_ROWS, padTo } from "../formats/palettized";
import type { PalettizedLinear } from "../formats/palettized-linear";
import { tableParts } from "./embedding";
import type { PlannedTensor } from "./shards";

/** The int8 tables of a model. */
export const tables = ({ tiedHead }: Pick<ModelConfig, "tiedHead">): string[] =>
  tiedHead ? ["model.embed_tokens"] : ["model.embed_tokens", "lm_head"];

/** Norm weights: the final one is applied at run time, the others are there for adapters. */
export const norms = ({ L }: Pick<ModelConfig, "L">): string[] => [
  "model.norm.weight",
  ...Array.from({ length: L }, (_, layer) => NORMS.map((norm) => normTensor(layer, norm))).flat(),
];

/** Linear, as `linearTensor` names it, to the width of each of its blocks. */
export type ModelBits = ReadonlyMap<string, Uint8Array>;

/** Every linear of a model in order, with its shape. */
export function modelLinears(config: ModelConfig): { name: string; rows: number; cols: number; blocks: number }[] {
  return Array.from({ length: config.L }, (_, layer) =>
    LINEARS.map((linear) => {
      const [rows, cols] = linearShape(config, linear);
      return { name: linearTensor(layer, linear), rows, cols, blocks: Math.ceil(rows / PALETTE_ROWS) };
    }),
  ).flat();
}

/** What a model may have beside the codes of its linears. */
export interface Extras {
  /** Input columns that each down_proj keeps, the only linear whose inputs have a few huge channels; none by default. */
  kept?: number;
  /** Codes are made width by width, and every width has its palettes; false by default. */
  elastic?: boolean;
}

/** More would be paid for by every kernel that adds them. */
export const MOST_KEPT = 16;

/** Columns that a linear keeps. */
export const keptOf = (name: string, cols: number, { kept = 0 }: Extras): number =>
  name.endsWith("down_proj") ? Math.min(kept, cols) : 0;

/** The same width for every block. */
export const uniformBits = (config: ModelConfig, width: number): ModelBits =>
  new Map(modelLinears(config).map(({ name, blocks }) => [name, new Uint8Array(blocks).fill(width)]));

/** Of one block of a linear with `cols` columns: codes, palettes, row scales and the byte that says its width. */
export function blockBytes(width: number, cols: number, { elastic = false }: Extras = {}): number {
  const entries = elastic ? 2 ** (width + 1) - 4 : 2 ** width;
  return (PALETTE_ROWS * padTo(cols, COLUMN_MULTIPLE) * width) / 8 + 2 * entries + 2 * PALETTE_ROWS + 1;
}

/** Of all that linears keep. */
export function keptBytes(config: ModelConfig, extras: Extras): number {
  return modelLinears(config).reduce((sum, { name, rows, cols }) => sum + keptOf(name, cols, extras) * (2 * rows + 4), 0);
}

/** In load order: what the shortest codes need first, then what later bits add. */
export function planTensors(config: ModelConfig, modelBits: ModelBits, extras: Extras = {}): PlannedTensor[] {
  const plan: PlannedTensor[] = [];
  const add = (name: string, dtype: PlannedTensor["dtype"], size: number, ...shape: number[]) =>
    plan.push({ name, dtype, shape, bytes: shape.reduce((product, n) => product * n, size) });

  for (const table of tables(config)) {
    tableParts(config.V, config.D).forEach((rows, part) => {
      add(`${table}.int8.${part}`, "I8", 1, rows, config.D);
    });
    add(`${table}.row_scale`, "F16", 2, config.V);
  }
  for (const name of norms(config)) add(name, "F32", 4, config.D);
  for (const plane of [0, 1, 2]) {
    for (const { name, rows: outputs, cols } of modelLinears(config)) {
      const bits = modelBits.get(name)!;
      const blocks = (least: number, most = 4) => bits.filter((width) => width >= least && width <= most).length;
      const rows = blocks(2 + plane) * PALETTE_ROWS;
      if (rows > 0) add(`${name}.plane${plane}`, "U32", 4, rows, padTo(cols, COLUMN_MULTIPLE) / (plane === 0 ? 16 : 32));
      if (plane > 0) continue;
      for (const width of [4, 3, 2]) {
        const palettes = blocks(width, extras.elastic ? 4 : width);
        if (palettes > 0) add(`${name}.palette${width}`, "F16", 2, palettes, 2 ** width);
      }
      add(`${name}.row_scale`, "F16", 2, bits.length * PALETTE_ROWS);
      add(`${name}.bits`, "U8", 1, bits.length);
      const kept = keptOf(name, cols, extras);
      if (kept === 0) continue;
      add(`${name}.kept_index`, "U32", 4, kept);
      add(`${name}.kept`, "F16", 2, outputs, kept);
    }
  }
  return plan;
}

/** Bits per weight of the linears, palettes and row scales counted. */
export function averageBits(config: ModelConfig, plan: readonly PlannedTensor[]): number {
  const inLinears = plan.filter(({ name }) => LINEARS.some((linear) => name.includes(`.${linear}.`)));
  const bytes = inLinears.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const shapes = LINEARS.map((linear) => linearShape(config, linear));
  return (8 * bytes) / (config.L * shapes.reduce((sum, [rows, cols]) => sum + rows * cols, 0));
}

/** Suffix and contents of each tensor of one linear. */
export function tensorsOf(linear: PalettizedLinear): [string, ArrayBufferView][] {
  const { plane0, plane1, plane2, bits, palette4, palette3, palette2, rowScale, kept } = linear;
  const all: [string, ArrayBufferView | undefined][] = [
    ["plane0", plane0],
    ["plane1", plane1],
    ["plane2", plane2],
    ["palette4", palette4],
    ["palette3", palette3],
    ["palette2", palette2],
    ["row_scale", rowScale],
    ["bits", bits],
    ["kept_index", kept?.index],
    ["kept", kept?.values],
  ];
  return all.filter((entry): entry is [string, ArrayBufferView] => entry[1] !== undefined);
}
