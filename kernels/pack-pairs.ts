import shader from "../wgsl/pack-pairs.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { checkWeights, type PaletteWeights } from "./palette-weights";

const kernel = defineKernel({
  name: "pack-pairs",
  shader,
  bindings: { plane0: "write", plane1: "write", plane2: "write", blocks: "read" },
});

/** 32-column steps of a workgroup. */
const STEPS = 32;
/** WebGPU's default limit on workgroups in one dimension, times the 4 rows of one. */
const MOST_ROWS = 4 * 65535;

/** 4-bit blocks from planes, as files have them, to pair bytes, as the linears read them; once. Layout in wgsl/lib/palette-weights.wgsl. */
export function packPairs(recorder: Recorder, weights: PaletteWeights): void {
  const { plane0, plane1, plane2, blocks, rows, cols, bytes } = weights;
  checkWeights(kernel.name, weights);
  requireShape(kernel.name, rows <= MOST_ROWS, `rows must be at most ${MOST_ROWS} but are ${rows}.`);
  kernel.record(recorder, {
    overrides: { COLS: cols },
    buffers: { plane0, plane1, plane2, blocks },
    workgroups: [Math.ceil(cols / 32 / STEPS), rows / 4],
    cost: { bytesRead: bytes, bytesWritten: bytes, multiplyAdds: 0 },
  });
}
