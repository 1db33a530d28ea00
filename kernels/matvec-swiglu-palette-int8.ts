import shader from "../wgsl/matvec-swiglu-palette-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { fewTokens } from "./few-tokens";
import { int8RowWords } from "./int8-row";
import { matvecMapping } from "./matvec-mapping";
import type { MatvecSwigluInt8Args } from "./matvec-swiglu-int8";
import { checkWeights, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-swiglu-palette-int8",
  shader,
  bindings: { plane0: "read", plane1: "read", plane2: "read", blocks: "read", x8: "read", state: "read", y8: "write" },
});

/** As for matvec-swiglu-int8, but for at most MOST_FEW tokens. */
export interface MatvecSwigluPaletteInt8Args extends Omit<MatvecSwigluInt8Args, "weights"> {
  /** gate and up stacked by rows, gate first. */
  weights: PaletteWeights;
}

/** y = silu(gate) * up of a few tokens in integers. Equation in wgsl/matvec-swiglu-palette-int8.wgsl. */
export function matvecSwigluPaletteInt8(
  recorder: Recorder,
  { weights, x8, state, y8, y8Cols, norm, tokens }: MatvecSwigluPaletteInt8Args,
): void {
  const { plane0, plane1, plane2, blocks, rows, cols, bytes } = weights;
  checkWeights(kernel.name, weights, 2);
  const { TOKENS } = fewTokens(kernel.name, cols, rows / 2, { tokens });
  // One block a workgroup, whatever the adapter: a workgroup has one table.
  const mapping = matvecMapping({ ...recorder.tier, software: false }, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: {
      ROWS: rows / 2,
      COLS: cols,
      TOKENS,
      ROW8_COLS: y8Cols,
      ROW8_QUADS: 4 * TOKENS,
      EPS: norm.eps,
      NORM_COLS: norm.cols,
      LANES: mapping.LANES,
      THREADS: mapping.THREADS,
    },
    buffers: { plane0, plane1, plane2, blocks, x8, state, y8 },
    workgroups: [rows / 32],
    cost: {
      bytesRead: bytes + 4 * tokens * int8RowWords(cols),
      bytesWritten: 4 * tokens * int8RowWords(y8Cols),
      multiplyAdds: tokens * rows * cols,
    },
  });
}
