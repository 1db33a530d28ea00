import shader from "../wgsl/adapter-up.wgsl";
import { type AdapterBuffers, MOST_ADAPTERS, MOST_PARTS, MOST_RANK } from "./adapter-terms";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";

const kernel = defineKernel({
  name: "adapter-up",
  shader,
  bindings: { arena: "read", terms: "read", z: "read", state: "read", y: "write" },
  shape: true,
});

/** Rows of a workgroup: 64 threads, a vec4 each. */
const PER_WORKGROUP = 256;

export interface AdapterUpArgs {
  adapters: AdapterBuffers;
  /** Term of the first of the stacked linears. */
  firstTerm: number;
  /** Rows of each of the stacked linears, padded to whole blocks of 16. */
  rows: readonly number[];
  state: GPUBuffer;
  /** f32 [tokens, yStride]; what it holds is added to. */
  y: GPUBuffer;
  yStride: number;
  tokens: number;
}

/** y += scale * B z of every adapter, z as adapter-down left it. Equation in wgsl/adapter-up.wgsl. */
export function adapterUp(recorder: Recorder, { adapters, firstTerm, rows, state, y, yStride, tokens }: AdapterUpArgs): void {
  const [first, second = 0, third = 0] = rows;
  const all = first + second + third;
  requireShape(
    kernel.name,
    rows.length >= 1 && rows.length <= MOST_PARTS,
    `linears must be 1 to ${MOST_PARTS} but are ${rows.length}.`,
  );
  requireShape(
    kernel.name,
    rows.every((n) => n > 0 && n % 16 === 0),
    `rows must be whole blocks of 16 but are ${rows.join(", ")}.`,
  );
  requireShape(
    kernel.name,
    yStride >= all && yStride % 4 === 0,
    `yStride must be a multiple of 4 from ${all} on but is ${yStride}.`,
  );
  const { arena, table, z } = adapters;
  const ranks = MOST_ADAPTERS * MOST_RANK;
  kernel.record(recorder, {
    overrides: {},
    shape: [firstTerm, all, yStride, first, first + second],
    buffers: { arena, terms: table, z, state, y },
    workgroups: [Math.ceil(all / PER_WORKGROUP), tokens],
    cost: {
      bytesRead: 2 * all * ranks + 4 * tokens * (all + rows.length * ranks),
      bytesWritten: 4 * tokens * all,
      multiplyAdds: tokens * all * ranks,
    },
  });
}
