/**
 * A palettized linear at fewer bits than it was stored with: the last planes of some blocks are left away, and the shorter codes
 * index palettes of their own. Where the model is elastic those are stored; else they are means of neighbouring entries, made
 * here from the palette alone, since whoever leaves a plane away does not read it either.
 */
import { f16ArrayToF32, f16ToF32, f32ArrayToF16, f32ToF16 } from "./f16";
import { COLUMN_MULTIPLE, PALETTE_ROWS, padTo } from "./palettized";
import type { KeptColumns, PalettizedLinear } from "./palettized-linear";

type Palettes = Pick<PalettizedLinear, "bits" | "palette4" | "palette3" | "palette2">;

/**
 * How often each entry of a sorted palette occurs, estimated, summing to 1. Palettes come from k-means, whose entries stand
 * in proportion to the cube root of the density (Panter and Dite, 1951): an entry is used as the inverse square of the gap around it.
 * Against means weighted by counted codes this costs 4 % of squared error at 3 bits and 2 % at 2 on the sample model; equal
 * weights cost 9 % and 26 %.
 */
export function estimateUsage(palette: ArrayLike<number>): Float64Array {
  const last = palette.length - 1;
  const least = (palette[last] - palette[0]) / 1024 || 1; // entries may coincide
  const usage = Float64Array.from(palette, (_, i) => {
    const gap = (palette[Math.min(i + 1, last)] - palette[Math.max(i - 1, 0)]) / (i === 0 || i === last ? 1 : 2);
    return Math.max(gap, least) ** -2;
  });
  const sum = usage.reduce((total, value) => total + value, 0);
  return usage.map((value) => value / sum);
}

/** The `2^width` means of neighbouring entries that codes without their last bits index; f16 bits. */
export function narrowPalette(palette: Uint16Array, width: number): Uint16Array {
  const entries = f16ArrayToF32(palette);
  const usage = estimateUsage(entries);
  return f32ArrayToF16(Array.from({ length: 1 << width }, (_, i) => groupMean(entries, usage, width, i)));
}

/** The mean square that a weight, in units of its row scale, is off by when its palette is narrowed to `width` bits. */
export function narrowingError(palette: Uint16Array, width: number): number {
  const entries = f16ArrayToF32(palette);
  const usage = estimateUsage(entries);
  const group = entries.length >> width;
  let error = 0;
  entries.forEach((entry, i) => {
    error += usage[i] * (entry - groupMean(entries, usage, width, Math.floor(i / group))) ** 2;
  });
  return error;
}

function groupMean(entries: Float32Array, usage: Float64Array, width: number, at: number): number {
  const group = entries.length >> width;
  let sum = 0;
  let weight = 0;
  for (let i = at * group; i < (at + 1) * group; i++) {
    sum += usage[i] * entries[i];
    weight += usage[i];
  }
  return sum / weight;
}

/** The palettes of every block, at its own width and below. */
export class BlockPalettes {
  private readonly tables: Record<number, Uint16Array | undefined>;
  /** By width and block: the row of that width's table; -1 where there is none. */
  private readonly rows = new Map<number, Int32Array>();

  constructor(private readonly linear: Palettes) {
    const { bits, palette4, palette3, palette2 } = linear;
    this.tables = { 4: palette4, 3: palette3, 2: palette2 };
    for (const width of [2, 3, 4]) {
      const stored = (this.tables[width]?.length ?? 0) >> width;
      const elastic = stored === bits.filter((own) => own >= width).length;
      let row = 0;
      this.rows.set(
        width,
        Int32Array.from(bits, (own) => (own === width || (elastic && own > width) ? row++ : -1)),
      );
    }
  }

  /** f16 bits [2^width] of one block, stored where the model has them. `width` is at most the block's own. */
  at(block: number, width: number): Uint16Array {
    return this.stored(block, width) ?? narrowPalette(this.stored(block, this.linear.bits[block])!, width);
  }

  /** The same, absent where the model does not store it. */
  stored(block: number, width: number): Uint16Array | undefined {
    const row = this.rows.get(width)![block];
    return row < 0 ? undefined : this.tables[width]?.subarray(row << width, (row + 1) << width);
  }
}

/** Palettes for `bits`, each at most what is stored: tables with a row for each block of that width and no other. */
export function narrowPalettes(linear: Palettes, bits: Uint8Array): Palettes {
  const palettes = new BlockPalettes(linear);
  const table = (width: number) => {
    const blocks = Array.from(bits.keys()).filter((block) => bits[block] === width);
    const entries = new Uint16Array(blocks.length << width);
    blocks.forEach((block, row) => {
      entries.set(palettes.at(block, width), row << width);
    });
    return blocks.length > 0 ? entries : undefined;
  };
  return { bits, palette4: table(4), palette3: table(3), palette2: table(2) };
}

/** Of plane 1 or 2 of a linear stored at `stored` bits, the rows that `bits` still need. `words` of a row. */
export function narrowPlane(
  plane: 1 | 2,
  words: Uint32Array,
  { stored, bits }: { stored: Uint8Array; bits: Uint8Array },
  rowWords: number,
): Uint32Array {
  const size = PALETTE_ROWS * rowWords;
  const least = 2 + plane;
  const kept = new Uint32Array(bits.filter((width) => width >= least).length * size);
  let from = 0;
  let to = 0;
  stored.forEach((width, block) => {
    if (width < least) return;
    if (bits[block] >= least) kept.set(words.subarray(from, from + size), size * to++);
    from += size;
  });
  return kept;
}

/**
 * Kept columns beside narrower codes. Their codes are half the palette's entries in every row, so that the palettes alone say what
 * they come to with fewer bits; what is kept makes up for it.
 */
export function narrowKept(
  kept: KeptColumns,
  linear: Palettes & Pick<PalettizedLinear, "rowScale">,
  bits: Uint8Array,
): KeptColumns {
  const palettes = new BlockPalettes(linear);
  const n = kept.index.length;
  const middle = (block: number, width: number) => f16ToF32(palettes.at(block, width)[2 ** (width - 1)]);
  const moved = Float32Array.from(bits, (width, block) => middle(block, linear.bits[block]) - middle(block, width));
  const scales = f16ArrayToF32(linear.rowScale);
  const wide = f16ArrayToF32(kept.values);
  const values = kept.values.slice();
  for (let row = 0; row * n < values.length; row++) {
    const by = moved[Math.floor(row / PALETTE_ROWS)] * scales[row];
    if (by !== 0) for (let i = row * n; i < (row + 1) * n; i++) values[i] = f32ToF16(wide[i] + by);
  }
  return { index: kept.index, values };
}

/** A linear with `cols` columns at `bits` for its blocks, each at most what is stored. */
export function narrowLinear(linear: PalettizedLinear, bits: Uint8Array, cols: number): PalettizedLinear {
  const rowWords = padTo(cols, COLUMN_MULTIPLE) / 32;
  const widths = { stored: linear.bits, bits };
  const { plane1, plane2 } = linear;
  return {
    ...linear,
    ...narrowPalettes(linear, bits),
    kept: linear.kept && narrowKept(linear.kept, linear, bits),
    plane1: plane1 && narrowPlane(1, plane1, widths, rowWords),
    plane2: plane2 && narrowPlane(2, plane2, widths, rowWords),
  };
}
