import shader from "../wgsl/palette-histogram.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "palette-histogram",
  shader,
  bindings: { x: "read", widths: "read", rowWeights: "read", importance: "read", emphasis: "read", histogram: "write" },
  shape: true,
});

/** Of a block's histogram: weight, and where in the bin it lies, of 4,096 bins. */
export const HISTOGRAM_WORDS = 2 * 4096;
/** Columns that a workgroup takes, where a block has several. */
const PART_COLUMNS = 256;

export interface PaletteHistogramArgs {
  /** f32 [blocks, cols, 16]: a block's rows side by side. */
  x: GPUBuffer;
  blocks: number;
  cols: number;
  /** u32 [blocks]: 2, 3 or 4 bits. */
  widths: GPUBuffer;
  /** f32 [blocks, 16], scaled so that a block's weights stay below 2^28; 0 where there is no row. */
  rowWeights: GPUBuffer;
  /** f32 [cols]. */
  importance: GPUBuffer;
  /** f32 [2048], by the bins of |x|: what values weigh in blocks of 4 bits. */
  emphasis: GPUBuffer;
  /** u32 [blocks, 4096, 2], zero before. */
  histogram: GPUBuffer;
}

/** Weighted histograms of blocks of 16 rows. Equation in wgsl/palette-histogram.wgsl. */
export function paletteHistogram(recorder: Recorder, args: PaletteHistogramArgs): void {
  const { x, blocks, cols, widths, rowWeights, importance, emphasis, histogram } = args;
  const parts = Math.ceil(cols / PART_COLUMNS);
  kernel.record(recorder, {
    overrides: {},
    buffers: { x, widths, rowWeights, importance, emphasis, histogram },
    shape: [cols, parts],
    workgroups: [parts, blocks],
    cost: {
      bytesRead: blocks * (64 * cols + 68) + 4 * cols + 8192,
      bytesWritten: 4 * blocks * HISTOGRAM_WORDS,
      multiplyAdds: 32 * blocks * cols,
    },
  });
}
