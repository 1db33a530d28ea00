import shader from "../wgsl/moments.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";

const kernel = defineKernel({
  name: "moments",
  shader,
  bindings: { x: "read", m: "write" },
  shape: true,
});

/** Columns and rows of moments come in tiles of it. */
export const MOMENTS_TILE = 64;

export interface MomentsArgs {
  /** f32 [tokens, stride], padding zero. */
  x: GPUBuffer;
  tokens: number;
  /** Columns, padded to a multiple of 64. */
  stride: number;
  /** f32 [rows, stride]: the moments' rows from `firstRow` on, added to up to the diagonal (the tiles on it are whole). */
  m: GPUBuffer;
  /** Multiples of 64. */
  firstRow: number;
  rows: number;
}

/** m += X^T X. Equation in wgsl/moments.wgsl. */
export function moments(recorder: Recorder, { x, tokens, stride, m, firstRow, rows }: MomentsArgs): void {
  for (const [name, value] of Object.entries({ stride, firstRow, rows })) {
    requireShape(kernel.name, value % MOMENTS_TILE === 0, `${name} must be a multiple of ${MOMENTS_TILE} but is ${value}.`);
  }
  const columns = firstRow + rows / 2; // of the rows on the average
  kernel.record(recorder, {
    overrides: {},
    buffers: { x, m },
    shape: [stride, firstRow, tokens],
    workgroups: [(firstRow + rows) / MOMENTS_TILE, rows / MOMENTS_TILE],
    cost: {
      bytesRead: 4 * (2 * tokens * (rows / MOMENTS_TILE) * columns + rows * columns),
      bytesWritten: 4 * rows * columns,
      multiplyAdds: tokens * rows * columns,
    },
  });
}
