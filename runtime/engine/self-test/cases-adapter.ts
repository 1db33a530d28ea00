/** Low-rank terms: two adapters of different rank on three linears that share an input, one of which they leave alone. */
import { adapterDown } from "../../../kernels/adapter-down";
import { MOST_RANK, RANK_STRIDE, TERM_WORDS } from "../../../kernels/adapter-terms";
import { adapterUp } from "../../../kernels/adapter-up";
import { adapterDown as downTwin } from "../../../kernels/reference/adapter-down";
import { adapterUp as upTwin } from "../../../kernels/reference/adapter-up";
import { int8Row, int8RowValues } from "../../../kernels/reference/int8-row";
import { roundToF16 } from "../../formats/f16";
import { padTo } from "../../formats/palettized";
import type { LowRank } from "../../formats/peft";
import { packTerm } from "../pack-adapter";
import { type Allocator, normals, padRows, READABLE, stepState } from "./data";
import { uploadRows } from "./int8";
import { f32Gate, type KernelCase } from "./kernel-case";

const EPS = 1e-5;
/** Rows of the linears, and the ranks of each linear's two terms. */
const LINEARS = [
  { rows: 48, ranks: [16, 64] },
  { rows: 16, ranks: [0, 0] },
  { rows: 20, ranks: [0, 5] },
];
const SCALES = [0.5, -2];

/** As a term's `rank`, or undefined for none. */
export function lowRank(rank: number, rows: number, cols: number, seed: number): LowRank {
  const halves = (count: number, seed: number, scale: number) => normals(count, seed, scale).map(roundToF16);
  return { rank, a: halves(rank * cols, seed, cols ** -0.5), b: halves(rows * rank, seed + 1, 1) };
}

/** The terms of LINEARS behind one that is not to be read, on the GPU. */
export function terms(on: Allocator, cols: number) {
  const lows = LINEARS.map(({ rows, ranks }, i) =>
    ranks.map((rank, slot) => (rank > 0 ? lowRank(rank, rows, cols, 10 * i + 2 * slot + 1) : undefined)),
  );
  const table = new Uint32Array((2 + 2 * LINEARS.length) * TERM_WORDS).fill(0xffffffff, 0, 2 * TERM_WORDS);
  const scales = new Float32Array(table.buffer);
  const words: number[] = Array(8).fill(0xffffffff);
  for (const [i, low] of lows.flat().entries()) {
    if (!low) continue;
    const packed = packTerm("term", low);
    const at = (2 + i) * TERM_WORDS;
    table.set([words.length / 4, (words.length + packed.aWords) / 4, packed.rank], at);
    scales[at + 3] = SCALES[i % 2];
    words.push(...packed.words);
  }
  return { lows, table: on.upload("table", table), arena: on.upload("arena", Uint32Array.from(words)) };
}

/** What z must be: f32 [T, RANK_STRIDE], zero where no term writes. */
export function expectedRanks(lows: (LowRank | undefined)[][], x: ArrayLike<number>, T: number, normEps?: number): Float64Array {
  const z = new Float64Array(T * RANK_STRIDE);
  for (const [s, low] of lows.flat().entries()) {
    if (!low) continue;
    const own = downTwin({ ...low, x, normEps });
    for (let t = 0; t < T; t++) z.set(own.subarray(t * low.rank, (t + 1) * low.rank), t * RANK_STRIDE + s * MOST_RANK);
  }
  return z;
}

const down = (int8: boolean): KernelCase => ({
  kernel: "adapter-down",
  name: `2 adapters on 3 linears, 3 tokens, ${int8 ? "in int8" : "norm"}`,
  gate: f32Gate,
  prepare(on) {
    const [T, cols, stride] = [3, 176, 192];
    const { lows, table, arena } = terms(on, cols);
    const values = normals(T * cols, 3);
    const rows = Array.from({ length: T }, (_, t) => int8Row(values.subarray(t * cols, (t + 1) * cols)));
    const x = int8 ? rows.flatMap((row) => [...int8RowValues(row).subarray(0, cols)]) : values;
    const z = on.buffer("z", 4 * T * RANK_STRIDE, READABLE);
    const operands = {
      adapters: { arena, table, z },
      firstTerm: 2,
      linears: LINEARS.length,
      x: int8 ? uploadRows(on, rows) : on.upload("x", padRows(values, T, cols, stride)),
      ...{ int8, cols: stride, xStride: stride },
      norm: int8 ? undefined : { eps: EPS, cols },
      state: stepState(on, { count: T }),
      tokens: T,
    };
    const expected = expectedRanks(lows, x, T, int8 ? undefined : EPS);
    return { record: (recorder) => adapterDown(recorder, operands), outputs: [{ buffer: z, expected }] };
  },
});

const up: KernelCase = {
  kernel: "adapter-up",
  name: "2 adapters on 3 linears, 3 tokens",
  gate: f32Gate,
  prepare(on) {
    const T = 3;
    const yStride = 128;
    const { lows, table, arena } = terms(on, 64);
    const z = normals(T * RANK_STRIDE, 4);
    // What lies behind a term's rank is of a step before it, and finite.
    const before = normals(T * yStride, 5);
    const expected = Float64Array.from(before);
    let first = 0;
    for (const [i, { rows }] of LINEARS.entries()) {
      for (const [slot, low] of lows[i].entries()) {
        if (!low) continue;
        for (let t = 0; t < T; t++) {
          const from = t * RANK_STRIDE + (2 * i + slot) * MOST_RANK;
          const at = t * yStride + first;
          const own = {
            ...low,
            scale: SCALES[slot],
            z: z.subarray(from, from + low.rank),
            before: expected.slice(at, at + rows),
          };
          expected.set(upTwin(own), at);
        }
      }
      first += padTo(rows, 16);
    }
    const y = on.upload("y", before, READABLE);
    const operands = {
      adapters: { arena, table, z: on.upload("z", z) },
      firstTerm: 2,
      rows: LINEARS.map(({ rows }) => padTo(rows, 16)),
      state: stepState(on, { count: T }),
      ...{ y, yStride, tokens: T },
    };
    return { record: (recorder) => adapterUp(recorder, operands), outputs: [{ buffer: y, expected }] };
  },
};

export const ADAPTER_CASES: readonly KernelCase[] = [down(false), down(true), up];
