/** One linear to the tensors that stand for it, its blocks spread over threads. */
import { runsOf } from "../compute/pool";
import { PALETTE_ROWS } from "../formats/palettized";
import type { CodedBlocks } from "./blocks";
import type { InputMetric } from "./feedback";
import { type PalettizedResult, packLinear } from "./linear";
import type { CompilerPool } from "./tasks";

/** Blocks of one task: a fraction of a second. */
const TASK_BLOCKS = 12;

/** `palettizeLinear` over a pool, to the same bits. `weight` stays. */
export async function palettizeOver(
  pool: CompilerPool,
  weight: Float32Array,
  bits: Uint8Array,
  [rows, cols]: readonly [rows: number, cols: number],
  inputs?: InputMetric,
  elastic = false,
): Promise<PalettizedResult> {
  return packLinear(await codeOver(pool, weight, bits, cols, inputs, elastic), rows, cols, inputs, elastic);
}

/** `codeBlocks` over a pool, to the same bits. `weight` stays. */
export async function codeOver(
  pool: CompilerPool,
  weight: Float32Array,
  bits: Uint8Array,
  cols: number,
  inputs?: InputMetric,
  elastic = false,
): Promise<CodedBlocks> {
  const parts = await Promise.all(
    runsOf(bits.length, pool.wholeTasks ? 1 : Math.ceil(bits.length / TASK_BLOCKS)).map(([from, to]) =>
      pool.run("code", {
        weight: weight.slice(from * PALETTE_ROWS * cols, to * PALETTE_ROWS * cols),
        bits: bits.slice(from, to),
        cols,
        inputs,
        elastic,
      }),
    ),
  );
  const joined = <A extends Uint8Array | Uint16Array | Float64Array>(
    make: new (length: number) => A,
    of: (part: CodedBlocks) => A,
  ) => concat(make, parts.map(of));
  return {
    bits: joined(Uint8Array, (part) => part.bits),
    codes: joined(Uint8Array, (part) => part.codes),
    palettes: joined(Uint16Array, (part) => part.palettes),
    rowScale: joined(Uint16Array, (part) => part.rowScale),
    kept: joined(Uint16Array, (part) => part.kept),
    squaredErrors: joined(Float64Array, (part) => part.squaredErrors),
    squaredNorms: joined(Float64Array, (part) => part.squaredNorms),
    outputErrors: joined(Float64Array, (part) => part.outputErrors),
  };
}

function concat<N extends Uint8Array | Uint16Array | Float64Array>(make: new (length: number) => N, parts: N[]): N {
  const all = new make(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
