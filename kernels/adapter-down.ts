import shader from "../wgsl/adapter-down.wgsl";
import { type AdapterBuffers, MOST_ADAPTERS, MOST_PARTS, MOST_RANK } from "./adapter-terms";
import { defineKernel, type Recorder, requireShape, SOFTWARE_THREADS } from "./define-kernel";
import { int8RowWords } from "./int8-row";

const kernel = defineKernel({
  name: "adapter-down",
  shader,
  bindings: { arena: "read", terms: "read", x: "read", state: "read", z: "write" },
  shape: true,
});

const GPU_THREADS = 64;

export interface AdapterDownArgs {
  adapters: AdapterBuffers;
  /** Term of the first of the linears that read x, and how many do. */
  firstTerm: number;
  linears: number;
  /** f32 [tokens, xStride], padding zero; with `int8` rows in int8 of `cols` columns. */
  x: GPUBuffer;
  int8?: boolean;
  /** A multiple of 64. */
  cols: number;
  /** Floats from token to token of x. */
  xStride: number;
  /** RMSNorm of x in front; its weights are folded into A. */
  norm?: { eps: number; cols: number };
  state: GPUBuffer;
  tokens: number;
}

/** z = A x of every adapter on one input. Equation in wgsl/adapter-down.wgsl. */
export function adapterDown(recorder: Recorder, args: AdapterDownArgs): void {
  const { adapters, firstTerm, linears, x, int8 = false, cols, xStride, norm, state, tokens } = args;
  requireShape(kernel.name, cols > 0 && cols % 64 === 0, `cols must be padded to a multiple of 64 but are ${cols}.`);
  requireShape(kernel.name, linears >= 1 && linears <= MOST_PARTS, `linears must be 1 to ${MOST_PARTS} but are ${linears}.`);
  requireShape(kernel.name, xStride >= cols && xStride % 4 === 0, `xStride must be a multiple of 4 from ${cols} on.`);
  const { arena, table, z } = adapters;
  const eps = new Uint32Array(Float32Array.of(norm?.eps ?? 0).buffer)[0];
  const mostRows = linears * MOST_ADAPTERS * MOST_RANK;
  kernel.record(recorder, {
    overrides: { THREADS: recorder.tier.software ? SOFTWARE_THREADS : GPU_THREADS, INT8: Number(int8) },
    shape: [firstTerm, linears, cols, int8 ? int8RowWords(cols) / 4 : xStride / 4, norm?.cols ?? 0, eps],
    buffers: { arena, terms: table, x, state, z },
    workgroups: [MOST_RANK, tokens],
    cost: {
      bytesRead: 2 * mostRows * cols + 4 * tokens * (int8 ? int8RowWords(cols) : cols),
      bytesWritten: 4 * tokens * mostRows,
      multiplyAdds: tokens * mostRows * cols,
    },
  });
}
