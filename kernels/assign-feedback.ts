import shader from "../wgsl/assign-feedback.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";

const kernel = defineKernel({
  name: "assign-feedback",
  shader,
  bindings: {
    x: "write",
    palettes: "read",
    widths: "read",
    factor: "read",
    inverse: "read",
    codes: "write",
    errors: "write",
  },
  shape: true,
});

/** Columns that are worked on together. */
export const ASSIGN_PANEL = 32;

export interface AssignFeedbackArgs {
  /** f32 [blocks, cols, 16]: a block's rows side by side. Becomes the errors that were passed on; from `coded` on, what is left to code. */
  x: GPUBuffer;
  blocks: number;
  cols: number;
  /** Columns that get a code: the others only take the feedback. */
  coded: number;
  /** f32 [blocks, 16]. */
  palettes: GPUBuffer;
  /** u32 [blocks], bits. */
  widths: GPUBuffer;
  /** f32 [first + count, count]: columns first ..< first + count of the factor. */
  factor: GPUBuffer;
  /** Of this piece; those before it were assigned. A multiple of 32. */
  first: number;
  count: number;
  /** f32 [cols], 1 / the factor's diagonal. */
  inverse: GPUBuffer;
  /** u32 [blocks, ceil(cols / 32), 16, 4]: codes of 4 bits, lowest first. */
  codes: GPUBuffer;
  /** f32 [blocks, 16], the squares of what was passed on are added. */
  errors: GPUBuffer;
}

/** Codes chosen with error feedback. Equation in wgsl/assign-feedback.wgsl. */
export function assignFeedback(recorder: Recorder, args: AssignFeedbackArgs): void {
  const { x, blocks, cols, coded, palettes, widths, factor, first, count, inverse, codes, errors } = args;
  requireShape(kernel.name, first % ASSIGN_PANEL === 0, `a piece must begin at a multiple of 32 but begins at ${first}.`);
  requireShape(
    kernel.name,
    count % ASSIGN_PANEL === 0 || first + count === cols,
    `a piece must end at a multiple of 32 or with the columns but ends at ${first + count} of ${cols}.`,
  );
  const earlier = count * (first + count / 2);
  kernel.record(recorder, {
    overrides: {},
    buffers: { x, palettes, widths, factor, inverse, codes, errors },
    shape: [cols, coded, first, count],
    workgroups: [blocks],
    cost: {
      bytesRead: blocks * (4 * earlier + (64 * earlier) / ASSIGN_PANEL + 64 * count),
      bytesWritten: blocks * (64 * count + 8 * count),
      multiplyAdds: 16 * blocks * earlier,
    },
  });
}
