/** Random palettized linears: as the twins read them and as the GPU holds them. */
import type { PaletteWeights } from "../../../kernels/palette-weights";
import type { PaletteMatrix } from "../../../kernels/reference/palette-matrix";
import { f32ToF16 } from "../../formats/f16";
import { padTo } from "../../formats/palettized";
import { interleaveRows, packBlocks } from "../pack-blocks";
import { type Allocator, normals, random } from "./data";

export interface PaletteCase {
  rows: number;
  cols: number;
  /** Width of each 16-row block, repeated when there are more blocks. */
  bits: number[];
  /** What the codes are: random, or one code everywhere (all ones show a lost bit). */
  codes?: "random" | "ones" | "zeros";
}

/** A random matrix. Planes are filled word by word with random bits, so the format's bit order decides the codes. */
export function paletteMatrix({ rows, cols, bits, codes = "random" }: PaletteCase, seed: number): PaletteMatrix {
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
  };
}

/** The matrices stacked by rows on the GPU. */
export function uploadMatrices(on: Allocator, matrices: PaletteMatrix[]): PaletteWeights {
  const blocks = packBlocks(matrices);
  const cols = padTo(matrices[0].cols, 64);
  const join = (planes: Uint32Array[], words: number) => {
    const parts = planes.map((plane) => interleaveRows(plane, cols, words));
    const all = new Uint32Array(
      Math.max(
        4,
        parts.reduce((sum, part) => sum + part.length, 0),
      ),
    );
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  };
  const plane0 = join(
    matrices.map((m) => m.plane0),
    2,
  );
  const plane1 = join(
    matrices.map((m) => m.plane1 ?? new Uint32Array()),
    1,
  );
  const plane2 = join(
    matrices.map((m) => m.plane2 ?? new Uint32Array()),
    1,
  );
  return {
    rows: matrices.reduce((sum, m) => sum + padTo(m.rows, 16), 0),
    cols,
    plane0: on.upload("plane0", plane0),
    plane1: on.upload("plane1", plane1),
    plane2: on.upload("plane2", plane2),
    blocks: on.upload("blocks", blocks),
    bytes: plane0.byteLength + plane1.byteLength + plane2.byteLength + blocks.byteLength,
  };
}
