/**
 * Palettes to int8 at load, for software adapters: there a look-up costs several times what a multiplication does, and memory
 * is the machine's own.
 */
import { expandInt8 } from "../../kernels/expand-int8";
import type { Int8Weights } from "../../kernels/int8-weights";
import { keptWords, type PaletteWeights } from "../../kernels/palette-weights";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { LayerWeights } from "./weights";

export type PaletteLayer = Record<keyof LayerWeights, PaletteWeights>;

/** Beyond this a model stays in palettes. */
const MOST_BYTES = 2 ** 30;

/** Whether linears are to be kept in int8 on this device. */
export function expands(gpu: Gpu, layers: readonly PaletteLayer[]): boolean {
  if (!gpu.tier.software || !gpu.tier.int8) return false;
  return linearsOf(layers).reduce((sum, linear) => sum + int8Bytes(linear), 0) <= MOST_BYTES;
}

/** Layers as the file has them, in planes, to int8. Layer by layer their palettes are released. @throws OchreError GPU_MEMORY. */
export async function expandLayers(gpu: Gpu, layers: readonly PaletteLayer[]): Promise<LayerWeights[]> {
  const expanded: LayerWeights[] = [];
  for (const [i, palettes] of layers.entries()) {
    const layer = await gpu.allocating(() => ({
      qkv_proj: allocate(gpu, `layer ${i} qkv_proj`, palettes.qkv_proj),
      o_proj: allocate(gpu, `layer ${i} o_proj`, palettes.o_proj),
      gate_up_proj: allocate(gpu, `layer ${i} gate_up_proj`, palettes.gate_up_proj),
      down_proj: allocate(gpu, `layer ${i} down_proj`, palettes.down_proj),
    }));
    const program = await Program.record(gpu, (recorder) => {
      for (const name of Object.keys(layer) as (keyof LayerWeights)[])
        expandInt8(recorder, { palettes: palettes[name], weights: layer[name] });
    });
    program.submit(gpu);
    for (const { plane0, plane1, plane2, blocks } of linearsOf([palettes]))
      for (const buffer of [plane0, plane1, plane2, blocks]) gpu.release(buffer);
    expanded.push(layer);
  }
  return expanded;
}

function allocate(gpu: Gpu, label: string, palettes: PaletteWeights): Int8Weights {
  const { rows, cols, kept = 0 } = palettes;
  return {
    rows,
    cols,
    codes: gpu.buffer(`${label} codes`, rows * cols + 4 * keptWords(rows, kept)),
    scales: gpu.buffer(`${label} scales`, 4 * rows),
    kept,
    bytes: int8Bytes(palettes),
  };
}

const int8Bytes = ({ rows, cols, kept = 0 }: PaletteWeights): number => rows * (cols + 4) + 4 * keptWords(rows, kept);

const linearsOf = (layers: readonly PaletteLayer[]): PaletteWeights[] => layers.flatMap((layer) => Object.values(layer));
