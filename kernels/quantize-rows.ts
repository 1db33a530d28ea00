import shader from "../wgsl/quantize-rows.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { INT8_BLOCK, int8RowWords } from "./int8-row";

const kernel = defineKernel({
  name: "quantize-rows",
  shader,
  bindings: { x: "read", state: "read", x8: "write" },
});

export interface QuantizeRowsArgs {
  /** f32 [tokens, cols]. */
  x: GPUBuffer;
  /** A multiple of 64. */
  cols: number;
  state: GPUBuffer;
  /** int8 rows [tokens, cols]. */
  x8: GPUBuffer;
  tokens: number;
}

/** Rows in int8. Equation in wgsl/quantize-rows.wgsl. */
export function quantizeRows(recorder: Recorder, { x, cols, state, x8, tokens }: QuantizeRowsArgs): void {
  requireShape(kernel.name, cols > 0 && cols % 64 === 0, `cols must be padded to a multiple of 64 but are ${cols}.`);
  kernel.record(recorder, {
    overrides: { ROW8_COLS: cols },
    buffers: { x, state, x8 },
    workgroups: [Math.ceil(cols / INT8_BLOCK / 64), tokens],
    cost: { bytesRead: 4 * tokens * cols, bytesWritten: 4 * tokens * int8RowWords(cols), multiplyAdds: 0 },
  });
}
