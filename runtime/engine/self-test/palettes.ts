/** Random palettized linears: as the twins read them and as the GPU holds them. */
import type { PaletteWeights } from "../../../kernels/palette-weights";
import { type PackPairsArgs, packPairs } from "../../../kernels/reference/pack-pairs";
import type { KeptColumns, PaletteMatrix } from "../../../kernels/reference/palette-matrix";
import { f32ToF16 } from "../../formats/f16";
import { padTo } from "../../formats/palettized";
import { interleaveRows, packBlocks, packKept, paddedKept } from "../pack-blocks";
import { type Allocator, normals, READABLE, random } from "./data";

export interface PaletteCase {
  rows: number;
  cols: number;
  /** Width of each 16-row block, repeated when there are more blocks. */
  bits: number[];
  /** Columns that are kept besides. */
  kept?: number;
  /** What the codes are: random, or one code everywhere (all ones show a lost bit). */
  codes?: "random" | "ones" | "zeros";
}

/** A random matrix. Planes are filled word by word with random bits, so the format's bit order decides the codes. */
export function paletteMatrix({ rows, cols, bits, codes = "random", kept = 0 }: PaletteCase, seed: number): PaletteMatrix {
  const uniform = random(seed);
  const blocks = Math.ceil(rows / 16);
  const width = Uint8Array.from({ length: blocks }, (_, b) => bits[b % bits.length]);
  const padded = padTo(cols, 64);
  const plane = (blockCount: number, words: number) => {
    const data = new Uint32Array(blockCount * 16 * words);
    if (codes === "zeros") return data;
    for (let i = 0; i < data.length; i++) data[i] = codes === "ones" ? 0xffffffff : Math.floor(uniform() * 2 ** 32);
    return data;
  };
  const count = (test: (b: number) => boolean) => width.filter(test).length;
  const palette = (blockCount: number, entries: number) => {
    const values = new Uint16Array(blockCount * entries);
    for (let b = 0; b < blockCount; b++) {
      const sorted = normals(entries, seed + 100 + b).sort();
      for (let i = 0; i < entries; i++) values[b * entries + i] = f32ToF16(sorted[i]);
    }
    return values;
  };
  return {
    rows,
    cols,
    bits: width,
    plane0: plane(blocks, padded / 16),
    plane1: plane(
      count((b) => b >= 3),
      padded / 32,
    ),
    plane2: plane(
      count((b) => b === 4),
      padded / 32,
    ),
    palette4: palette(
      count((b) => b === 4),
      16,
    ),
    palette3: palette(
      count((b) => b === 3),
      8,
    ),
    palette2: palette(
      count((b) => b === 2),
      4,
    ),
    rowScale: Uint16Array.from({ length: rows }, () => f32ToF16(0.5 + uniform())),
    kept: kept === 0 ? undefined : keptColumns(rows, cols, kept, seed),
  };
}

/** The last column, and others spread before it. */
const keptColumns = (rows: number, cols: number, n: number, seed: number): KeptColumns => ({
  index: Uint32Array.from({ length: n }, (_, j) => Math.floor(((j + 1) * cols) / n) - 1),
  values: Uint16Array.from(normals(rows * n, seed + 50, 3), f32ToF16),
});

/** Of a matrix that stands alone. */
const keptWordsOf = ([{ rows, kept }]: readonly PaletteMatrix[]) => (kept ? packKept(kept, rows) : new Uint32Array());

/** The same codes over palettes of whole numbers up to 127, row scales 1: in int8 they are what they were. */
export function wholePalettes(matrix: PaletteMatrix): PaletteMatrix {
  const whole = (palette: Uint16Array | undefined, width: number) =>
    palette?.map((_, i) => f32ToF16(i % (1 << width) === 0 ? -127 : ((i * 37) % 255) - 127));
  return {
    ...matrix,
    palette4: whole(matrix.palette4, 4),
    palette3: whole(matrix.palette3, 3),
    palette2: whole(matrix.palette2, 2),
    rowScale: new Uint16Array(matrix.rows).fill(f32ToF16(1)),
  };
}

/** The matrices stacked by rows, as the GPU holds them; `packed` false: as files have them, before pack-pairs. */
export function planesOf(matrices: readonly PaletteMatrix[], packed = true): PackPairsArgs {
  const cols = padTo(matrices[0].cols, 64);
  const join = (planes: (Uint32Array | undefined)[], words: number) => {
    const parts = planes.map((plane = new Uint32Array()) => interleaveRows(plane, cols, words));
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const all = new Uint32Array(Math.max(4, length));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  };
  const planes = {
    cols,
    plane0: join(
      matrices.map(({ plane0 }) => plane0),
      2,
    ),
    plane1: join(
      matrices.map(({ plane1 }) => plane1),
      1,
    ),
    plane2: join(
      matrices.map(({ plane2 }) => plane2),
      1,
    ),
    blocks: Uint32Array.of(...packBlocks(matrices), ...keptWordsOf(matrices)),
  };
  if (packed) packPairs(planes);
  return planes;
}

/** planesOf() in buffers. */
export function uploadMatrices(on: Allocator, matrices: readonly PaletteMatrix[], packed = true): PaletteWeights {
  const { cols, plane0, plane1, plane2, blocks } = planesOf(matrices, packed);
  return {
    rows: matrices.reduce((sum, { rows }) => sum + padTo(rows, 16), 0),
    cols,
    plane0: on.upload("plane0", plane0, READABLE),
    plane1: on.upload("plane1", plane1, READABLE),
    plane2: on.upload("plane2", plane2, READABLE),
    blocks: on.upload("blocks", blocks),
    kept: paddedKept(matrices[0].kept?.index.length ?? 0),
    bytes: plane0.byteLength + plane1.byteLength + plane2.byteLength + blocks.byteLength,
  };
}
