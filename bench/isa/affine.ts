import { defineKernel, type Recorder } from "../../kernels/define-kernel";
import { matvecMapping } from "../../kernels/matvec-mapping";
import shader from "./affine.wgsl";

const kernel = defineKernel({
  name: "affine-yardstick",
  shader,
  bindings: { codes: "read", scale_zero: "read", x: "read", y: "write" },
});

/** A linear of the given size in plain affine 4 bits: compiled beside our kernels, never run. Equation in affine.wgsl. */
export function affineYardstick(recorder: Recorder, rows: number, cols: number, any: GPUBuffer): void {
  const mapping = matvecMapping(recorder.tier, cols);
  kernel.record(recorder, {
    lanes: mapping.LANES,
    overrides: { ROWS: rows, COLS: cols, ...mapping },
    buffers: { codes: any, scale_zero: any, x: any, y: any },
    workgroups: [Math.ceil(rows / (4 * mapping.SLOTS))],
    cost: { bytesRead: (rows * cols) / 2 + 4 * rows + 4 * cols, bytesWritten: 4 * rows, multiplyAdds: rows * cols },
  });
}
