/** Low-rank terms as the kernels read them: wgsl/lib/adapter-terms.wgsl. */
import { MOST_RANK, RANK_MULTIPLE } from "../../kernels/adapter-terms";
import { OchreError } from "../errors";
import { checkFinite } from "../formats/check-tensors";
import { f32ToF16 } from "../formats/f16";
import { COLUMN_MULTIPLE, PALETTE_ROWS, padTo } from "../formats/palettized";
import type { LowRank } from "../formats/peft";

export interface PackedTerm {
  /** A, then B. */
  words: Uint32Array;
  /** Padded. */
  rank: number;
  /** Words of A. */
  aWords: number;
}

/** @throws OchreError MODEL_UNSUPPORTED for a rank that the kernels do not reach, MODEL_FORMAT for values that do not fit f16. */
export function packTerm(name: string, { rank, a, b }: LowRank): PackedTerm {
  if (rank > MOST_RANK) {
    throw new OchreError("MODEL_UNSUPPORTED", `[adapter] the rank of ${name} must be at most ${MOST_RANK} but is ${rank}.`, {
      details: { linear: name, rank },
    });
  }
  const padded = padTo(rank, RANK_MULTIPLE);
  const cols = a.length / rank;
  const rows = b.length / rank;
  const stride = padTo(cols, COLUMN_MULTIPLE);
  const halves = new Uint16Array(padded * (stride + padTo(rows, PALETTE_ROWS)));
  for (let k = 0; k < rank; k++) for (let c = 0; c < cols; c++) halves[k * stride + c] = f32ToF16(a[k * cols + c]);
  const up = halves.subarray(padded * stride);
  for (let r = 0; r < rows; r++)
    for (let k = 0; k < rank; k++) up[((r >> 2) * padded + k) * 4 + (r & 3)] = f32ToF16(b[r * rank + k]);
  checkFinite(name, halves);
  return { words: new Uint32Array(halves.buffer), rank: padded, aWords: (padded * stride) / 2 };
}
