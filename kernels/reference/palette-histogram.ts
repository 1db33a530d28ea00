/**
 * Twin of palette-histogram, to the last bit: bins found by going through them, sums in whole numbers.
 *
 *   weight[bin(x)] += w,  inside[bin(x)] += floor(w * how far x lies into its bin),  w = floor(row_weight * emphasis[bin] * importance), emphasis 1 below 4 bits
 */
export interface PaletteHistogramArgs {
  /** [blocks, cols, 16]. */
  x: ArrayLike<number>;
  cols: number;
  /** [blocks]. */
  widths: ArrayLike<number>;
  /** [blocks, 16]. */
  rowWeights: ArrayLike<number>;
  /** [cols]. */
  importance: ArrayLike<number>;
  /** [2048]. */
  emphasis: ArrayLike<number>;
}

/** The edges of the bins of |x|: octave o, from 2^o - 1 on, has 2^(10-o) bins; the last bin is one value. */
export const EDGES = [...Array(11).keys()].flatMap((o) =>
  Array.from({ length: 2 ** (10 - o) }, (_, bin) => 2 ** o - 1 + (bin * 4 ** o) / 1024),
);
EDGES.push(2047);

/** u32 [blocks, 4096, 2]. */
export function paletteHistogram({ x, cols, widths, rowWeights, importance, emphasis }: PaletteHistogramArgs): Uint32Array {
  const histogram = new Uint32Array((x.length / cols / 16) * 8192);
  for (let i = 0; i < x.length; i++) {
    const block = Math.floor(i / cols / 16);
    const rowWeight = rowWeights[block * 16 + (i % 16)];
    if (rowWeight === 0) continue;
    const magnitude = Math.floor(Math.min(Math.abs(x[i]), 2047) * 2 ** 18) / 2 ** 18;
    let bin = 0;
    while (bin < 2047 && EDGES[bin + 1] <= magnitude) bin++;
    const width = bin < 2047 ? EDGES[bin + 1] - EDGES[bin] : 1;
    const part = Math.floor((256 * (magnitude - EDGES[bin])) / width);
    const emphasized = Math.fround(rowWeight * (widths[block] === 4 ? emphasis[bin] : 1));
    const w = Math.floor(Math.fround(emphasized * importance[Math.floor(i / 16) % cols]));
    const at = (block * 4096 + (x[i] < 0 ? 2047 - bin : 2048 + bin)) * 2;
    histogram[at] += w;
    histogram[at + 1] += Math.floor((w * part) / 256);
  }
  return histogram;
}
