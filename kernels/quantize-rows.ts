import shader from "../wgsl/quantize-rows.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import { int8RowWords } from "./int8-row";

const kernel = defineKernel({
  name: "quantize-rows",
  shader,
  bindings: { x: "read", state: "read", x8: "write", scale: "write" },
});

export interface QuantizeRowsArgs {
  /** f32 [tokens, cols], padding zero. */
  x: GPUBuffer;
  /** A multiple of 64. */
  cols: number;
  state: GPUBuffer;
  /** int8 rows [tokens, cols]. */
  x8: GPUBuffer;
  /** f32 [tokens], written where a norm follows. */
  scale: GPUBuffer;
  /** `cols`: unpadded width. */
  norm?: { eps: number; cols: number };
  tokens: number;
}

/** Rows in int8 for a prefill step, and the scalars of the RMSNorm that follows. Equation in wgsl/quantize-rows.wgsl. */
export function quantizeRows(recorder: Recorder, { x, cols, state, x8, scale, norm, tokens }: QuantizeRowsArgs): void {
  requireShape(kernel.name, cols > 0 && cols % 64 === 0, `cols must be padded to a multiple of 64 but are ${cols}.`);
  kernel.record(recorder, {
    overrides: { ROW8_COLS: cols, EPS: norm?.eps ?? -1, NORM_COLS: norm?.cols ?? cols },
    buffers: { x, state, x8, scale },
    workgroups: [tokens],
    cost: { bytesRead: 4 * tokens * cols, bytesWritten: 4 * tokens * int8RowWords(cols), multiplyAdds: 0 },
  });
}
