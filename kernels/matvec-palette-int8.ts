import shader from "../wgsl/matvec-palette-int8.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { fewTokens } from "./few-tokens";
import { int8RowWords } from "./int8-row";
import type { MatvecInt8Args } from "./matvec-int8";
import { matvecMapping } from "./matvec-mapping";
import { BLOCK_WORDS, checkKept, checkWeights, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "matvec-palette-int8",
  shader,
  bindings: {
    plane0: "read",
    plane1: "read",
    plane2: "read",
    blocks: "read",
    x8: "read",
    state: "read",
    y: "write",
    y8: "write",
  },
});

/** As for matvec-int8, but for at most MOST_FEW tokens. */
export interface MatvecPaletteInt8Args extends Omit<MatvecInt8Args, "weights"> {
  weights: PaletteWeights;
}

/** y = W x of a few tokens in integers (norm in front, residual behind). Equation in wgsl/matvec-palette-int8.wgsl. */
export function matvecPaletteInt8(recorder: Recorder, args: MatvecPaletteInt8Args): void {
  const { weights, x8, state, y, yStride, y8, int8 = false, norm, add = false, tokens } = args;
  const { plane0, plane1, plane2, blocks, rows, cols, bytes } = weights;
  checkWeights(kernel.name, weights);
  const kept = checkKept(kernel.name, weights, norm !== undefined);
  const { TOKENS } = fewTokens(kernel.name, cols, rows, { tokens, yStride });
  // One block a workgroup, whatever the adapter: a workgroup has one table.
  const mapping = matvecMapping({ ...recorder.tier, software: false }, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: {
      COLS: cols,
      KEPT: kept,
      KEPT_AT: (rows / 16) * BLOCK_WORDS,
      TOKENS,
      Y_STRIDE: yStride,
      ADD: Number(add),
      INT8: Number(int8),
      ROW8_COLS: yStride,
      ROW8_QUADS: 4 * TOKENS,
      EPS: norm?.eps ?? -1,
      NORM_COLS: norm?.cols ?? cols,
      LANES: mapping.LANES,
      THREADS: mapping.THREADS,
    },
    buffers: { plane0, plane1, plane2, blocks, x8, state, y, y8 },
    workgroups: [rows / 16],
    cost: {
      bytesRead: bytes + 4 * tokens * int8RowWords(cols),
      bytesWritten: 4 * tokens * (rows + (int8 ? int8RowWords(yStride) : 0)),
      multiplyAdds: tokens * rows * cols,
    },
  });
}
