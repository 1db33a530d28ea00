import shader from "../wgsl/palette-kmeans.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { HISTOGRAM_WORDS } from "./palette-histogram";

const kernel = defineKernel({
  name: "palette-kmeans",
  shader,
  bindings: { histogram: "read", widths: "read", sums: "write", gains: "write", cuts: "write", palettes: "write" },
});

const RUNS = 256;

/** Bytes of working memory for each block: what the kernel writes is of no use to others. */
export const KMEANS_SCRATCH = { sums: 12 * 4097, gains: 4 * RUNS * RUNS, cuts: 4 * 16 * (RUNS + 1) } as const;

export interface PaletteKmeansArgs {
  /** u32 [blocks, 4096, 2], as palette-histogram fills it. */
  histogram: GPUBuffer;
  blocks: number;
  /** u32 [blocks]: 2, 3 or 4 bits. */
  widths: GPUBuffer;
  /** `KMEANS_SCRATCH` bytes for each block. */
  sums: GPUBuffer;
  gains: GPUBuffer;
  cuts: GPUBuffer;
  /** f32 [blocks, 16]: 2^bits entries, rising, exact in f16. */
  palettes: GPUBuffer;
}

/** The palettes of blocks of 16 rows. Steps in wgsl/palette-kmeans.wgsl. */
export function paletteKmeans(recorder: Recorder, args: PaletteKmeansArgs): void {
  const { histogram, blocks, widths, sums, gains, cuts, palettes } = args;
  const scratch = blocks * (KMEANS_SCRATCH.sums + KMEANS_SCRATCH.gains + KMEANS_SCRATCH.cuts);
  kernel.record(recorder, {
    overrides: {},
    buffers: { histogram, widths, sums, gains, cuts, palettes },
    workgroups: [blocks],
    cost: {
      bytesRead: blocks * 4 * HISTOGRAM_WORDS + 16 * scratch,
      bytesWritten: scratch + 64 * blocks,
      multiplyAdds: (blocks * 15 * RUNS * RUNS) / 2,
    },
  });
}
