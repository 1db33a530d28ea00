import shader from "../wgsl/change-widths.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { checkWeights, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "change-widths",
  shader,
  bindings: {
    plane0: "write",
    plane1: "read",
    plane2: "read",
    blocks: "read",
    next: "read",
    next1: "write",
    next2: "write",
  },
  shape: true,
});

/** 32-column steps of a workgroup. */
const STEPS = 32;
/** WebGPU's default limit on workgroups in one dimension, times the 4 rows of one. */
const MOST_ROWS = 4 * 65535;

export interface ChangeWidthsArgs {
  /** As the linears read it now; plane0 is changed in place. */
  weights: PaletteWeights;
  /** u32 [rows/16, 4]: bits, first row in next1, first row in next2, 0. */
  next: GPUBuffer;
  /** What takes the place of plane1 and plane2; planes that a block gains were written there, as files have them. */
  next1: GPUBuffer;
  next2: GPUBuffer;
}

/** Codes at other widths, without reading them back; the records of `blocks` are for the caller to write. In wgsl/change-widths.wgsl. */
export function changeWidths(recorder: Recorder, { weights, next, next1, next2 }: ChangeWidthsArgs): void {
  const { plane0, plane1, plane2, blocks, rows, cols, bytes } = weights;
  checkWeights(kernel.name, weights);
  requireShape(kernel.name, rows <= MOST_ROWS, `rows must be at most ${MOST_ROWS} but are ${rows}.`);
  kernel.record(recorder, {
    overrides: {},
    buffers: { plane0, plane1, plane2, blocks, next, next1, next2 },
    shape: [cols],
    workgroups: [Math.ceil(cols / 32 / STEPS), rows / 4],
    cost: { bytesRead: bytes + next.size, bytesWritten: plane0.size + next1.size + next2.size, multiplyAdds: 0 },
  });
}
