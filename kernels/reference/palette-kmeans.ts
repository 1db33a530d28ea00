/**
 * Twin of palette-kmeans, to the last bit: in integers of any size, so that nothing can overflow or be rounded unseen.
 *
 *   1. points: bins with their weight and weight * x, x in units of 2^-10
 *   2. the partition of 256 runs of 16 bins with the largest sum of |sum of weight * x| * |mean|
 *   3. until no border moves: each entry the mean of its bins, each border the edge nearest to the middle of two entries
 */
import { EDGES } from "./palette-histogram";

const BINS = 4096;
const RUNS = 256;

const abs = (n: bigint): bigint => (n < 0n ? -n : n);
const bitLength = (n: bigint): number => n.toString(2).length;

/** Of one block. @param histogram u32 [4096, 2]. @returns [2^bits]. */
export function paletteKmeans(histogram: ArrayLike<number>, bits: number): Float32Array {
  const entries = 2 ** bits;
  const sumW = [0n];
  const sumX = [0n];
  const filled: number[] = [];
  let [magnitude, farthest] = [0n, 0];
  for (let i = 0; i < BINS; i++) {
    const side = i < BINS / 2 ? BINS / 2 - 1 - i : i - BINS / 2;
    const [start, end] = [EDGES[side] * 1024, (EDGES[side + 1] ?? 2047 + 4096) * 1024];
    const [weight, inside] = [histogram[2 * i], histogram[2 * i + 1]];
    const x = BigInt(weight) * BigInt(start) + BigInt(inside) * BigInt(end - start);
    sumW.push(sumW[i] + BigInt(weight));
    sumX.push(sumX[i] + (i < BINS / 2 ? -x : x));
    magnitude += x;
    if (weight === 0) continue;
    filled.push(i);
    farthest = Math.max(farthest, end);
  }
  /** In units of 2^-18, towards zero. */
  const mean = (i: number, j: number) => Number(((sumX[j] - sumX[i]) * 256n) / (sumW[j] - sumW[i]));
  let palette: number[] = Array(entries).fill(0);
  if (filled.length === 0) return Float32Array.from(palette);
  if (filled.length <= entries) {
    palette = palette.map((_, k) => filled[Math.min(k, filled.length - 1)]).map((i) => mean(i, i + 1));
    return Float32Array.from(palette, toHalf);
  }
  let first = Math.floor(filled[0] / 16);
  const last = Math.min(RUNS, Math.max(Math.floor(filled[filled.length - 1] / 16) + 1, first + entries));
  first = Math.min(first, last - entries);
  const sumShift = BigInt(Math.max(0, bitLength(magnitude) - 28));
  const meanShift = BigInt(25 - bitLength(BigInt(farthest)));
  const gain = (i: number, j: number): bigint => {
    const weight = sumW[16 * j] - sumW[16 * i];
    const sum = abs(sumX[16 * j] - sumX[16 * i]);
    return weight === 0n ? 0n : ((sum >> sumShift) * ((sum << meanShift) / weight)) >> 22n;
  };
  const gains = Array.from({ length: RUNS + 1 }, (_, j) =>
    Array.from({ length: j }, (_, i) => (i < first || j > last ? 0n : gain(i, j))),
  );
  let before = gains.map((row) => row[first] ?? 0n);
  const cuts: number[][] = [];
  for (let part = 2; part <= entries; part++) {
    const best: bigint[] = [];
    const cut: number[] = [];
    for (let j = first + part; j <= last; j++) {
      best[j] = -1n;
      for (let i = first + part - 1; i < j; i++) {
        if (before[i] + gains[j][i] <= best[j]) continue;
        best[j] = before[i] + gains[j][i];
        cut[j] = i;
      }
    }
    before = best;
    cuts[part] = cut;
  }
  const borders = [0];
  borders[entries] = BINS;
  for (let part = entries, j = last; part > 1; part--) {
    j = cuts[part][j];
    borders[part - 1] = 16 * j;
  }
  for (let iteration = 0; iteration < 64; iteration++) {
    for (let k = 0; k < entries; k++) {
      if (sumW[borders[k]] < sumW[borders[k + 1]]) palette[k] = mean(borders[k], borders[k + 1]);
      if (k > 0) palette[k] = Math.max(palette[k], palette[k - 1]);
    }
    const moved = borders.map((border, k) =>
      k === 0 || k === entries ? border : borderAt(Math.floor((palette[k - 1] + palette[k]) / 2)),
    );
    if (moved.every((border, k) => border === borders[k])) break;
    borders.splice(0, entries + 1, ...moved);
  }
  return Float32Array.from(palette, toHalf);
}

/** The edge nearest to a value in units of 2^-18, the outer one of two equally near. */
function borderAt(value: number): number {
  const magnitude = Math.abs(value) / 2 ** 18;
  let edge = 0;
  while (edge < 2047 && (EDGES[edge] + EDGES[edge + 1]) / 2 <= magnitude) edge++;
  return BINS / 2 + (value < 0 ? -edge : edge);
}

/** Units of 2^-18 to the nearest value of 11 bits, the even one of two equally near. */
function toHalf(fixed: number): number {
  const unit = 2 ** Math.max(0, bitLength(BigInt(Math.abs(fixed))) - 11);
  const down = Math.floor(Math.abs(fixed) / unit);
  const rest = Math.abs(fixed) / unit - down;
  const rounded = down + (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? 1 : 0);
  return (Math.sign(fixed) * rounded * unit) / 2 ** 18;
}
