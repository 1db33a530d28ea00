/** Blocks of rows as the compiler's kernels take them, and what the CPU path makes of them. */
import { fillHistogram, type Histogram, makeHistogram, scaleRowWeights } from "../../runtime/palettize/kmeans";
import { normals } from "./harness";

export interface BlockShape {
  name: string;
  rows: number;
  cols: number;
  /** Changes the values [rows, cols] of RMS about 1. */
  change?: (x: Float32Array, cols: number) => void;
  /** Of columns 0, 1 …; the last is repeated. */
  importance?: number[];
}

export const BLOCKS: BlockShape[] = [
  { name: "one value", rows: 1, cols: 1 },
  { name: "one column", rows: 16, cols: 1 },
  { name: "rows not a multiple of 16, cols not of 64", rows: 37, cols: 75 },
  { name: "several workgroups a block", rows: 16, cols: 600 },
  { name: "all values equal", rows: 16, cols: 64, change: (x) => x.fill(-0.75) },
  { name: "an outlier 1000 times as large", rows: 16, cols: 128, change: (x) => x.fill(1000, 5, 6) },
  { name: "beyond every bin", rows: 16, cols: 64, change: (x) => x.set([3e9, -3e9]) },
  { name: "rows of zeros", rows: 16, cols: 64, change: (x, cols) => x.fill(0, cols, 9 * cols) },
  { name: "nothing but zeros", rows: 16, cols: 64, change: (x) => x.fill(0) },
  { name: "three values", rows: 16, cols: 96, change: (x) => x.set(x.map((_, i) => [0.3, -1.2, 2][i % 3])) },
  {
    name: "twenty values",
    rows: 16,
    cols: 96,
    change: (x) => x.set(x.map((_, i) => ((i % 20) - 9.3) / 7)),
  },
  { name: "one column that counts a thousand times", rows: 16, cols: 200, importance: [1000, 0.01] },
];

/** [rows, cols] to [blocks, cols, 16]. */
export function sideBySide(values: Float32Array, rows: number, cols: number): Float32Array {
  const blocks = new Float32Array(Math.ceil(rows / 16) * 16 * cols);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) blocks[((r >> 4) * cols + c) * 16 + (r & 15)] = values[r * cols + c];
  return blocks;
}

export function blockCase({ rows, cols, change, importance: list = [1] }: BlockShape) {
  const values = normals(rows * cols, 7);
  change?.(values, cols);
  const importance = Float32Array.from({ length: cols }, (_, c) => list[Math.min(c, list.length - 1)]);
  const blocks = Math.ceil(rows / 16);
  /** 4, 3, 2, 4 … bits. */
  const widths = Uint32Array.from({ length: blocks }, (_, block) => 4 - (block % 3));
  const rowWeights = new Float32Array(16 * blocks);
  const histograms: Histogram[] = [];
  for (let block = 0; block < blocks; block++) {
    const span = [16 * block, Math.min(rows, 16 * block + 16)] as const;
    const weights = Float64Array.from({ length: span[1] - span[0] }, (_, r) => (r % 5 === 4 ? 0 : 1 + r));
    const scaled = scaleRowWeights(values, span, cols, weights, importance);
    rowWeights.set(scaled, span[0]);
    const histogram = makeHistogram();
    fillHistogram(histogram, values, span, cols, widths[block], scaled, importance);
    histograms.push(histogram);
  }
  return { values, x: sideBySide(values, rows, cols), blocks, cols, widths, rowWeights, importance, histograms };
}
