import shader from "../wgsl/embed-dense.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";
import { checkDense, type DenseMatrix } from "./dense-matrix";

const kernel = defineKernel({
  name: "embed-dense",
  shader,
  bindings: { table: "read", tokens: "read", state: "read", x: "write" },
});

export interface EmbedDenseArgs {
  /** [V, D]. */
  table: DenseMatrix;
  /** u32 [tokens]. */
  ids: GPUBuffer;
  /** Step state: how many tokens count; nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, stride], stride a multiple of 4. */
  x: GPUBuffer;
  stride: number;
  tokens: number;
}

/** x[t] = table[id[t]]. Equation in wgsl/embed-dense.wgsl. */
export function embedDense(recorder: Recorder, { table, ids, state, x, stride, tokens }: EmbedDenseArgs): void {
  checkDense(kernel.name, table);
  kernel.record(recorder, {
    overrides: { D: table.cols, STRIDE: stride },
    buffers: { table: table.weights, tokens: ids, state, x },
    workgroups: [tokens],
    cost: { bytesRead: 4 * tokens * (table.cols + 1), bytesWritten: 4 * tokens * table.cols, multiplyAdds: 0 },
  });
}
