import { defineKernel, type Recorder } from "../../kernels/define-kernel";
import { matvecMapping } from "../../kernels/matvec-mapping";
import shader from "./affine.wgsl";

const kernel = defineKernel({
  name: "affine-yardstick",
  shader,
  bindings: { codes: "read", scale_zero: "read", x: "read", y: "write" },
});

type Buffers = Record<keyof typeof kernel.bindings, GPUBuffer>;

/** y = W x in plain affine 4 bits: what ours is compiled beside. Equation in affine.wgsl. */
export function affineYardstick(recorder: Recorder, rows: number, cols: number, buffers: Buffers): void {
  const mapping = matvecMapping(recorder.tier, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: { ROWS: rows, COLS: cols, ...mapping },
    buffers,
    workgroups: [Math.ceil(rows / (4 * mapping.SLOTS))],
    cost: { bytesRead: (rows * cols) / 2 + 4 * rows + 4 * cols, bytesWritten: 4 * rows, multiplyAdds: rows * cols },
  });
}
