import shader from "../wgsl/head-int8.wgsl";
import { defineKernel, type Recorder, requireShape } from "./define-kernel";
import type { VocabularyTable } from "./embed-rotate";
import { type FewTokens, fewTokens } from "./few-tokens";
import { matvecMapping } from "./matvec-mapping";

const kernel = defineKernel({
  name: "head-int8",
  shader,
  bindings: { table: "read", row_scale: "read", x: "read", state: "read", logits: "write" },
});

/** WebGPU's default limit on workgroups in one dimension. */
const MOST_WORKGROUPS = 65535;

/** Threads that hand x round where subgroups allow it. */
const READING = 4;

export interface HeadInt8Args extends Omit<FewTokens, "yStride"> {
  head: VocabularyTable;
  /** f32 [tokens, xStride]. */
  x: GPUBuffer;
  /** Step state: how many tokens count; nothing is computed once it says done. */
  state: GPUBuffer;
  /** f32 [tokens, V padded to 4]. */
  logits: GPUBuffer;
}

/** logits = table x. Equation in wgsl/head-int8.wgsl. */
export function headInt8(recorder: Recorder, { head, x, state, logits, tokens = 1, xStride }: HeadInt8Args): void {
  const { table, rowScale, D } = head;
  requireShape(kernel.name, D % 16 === 0, `width must be a multiple of 16 but is ${D}.`);
  const rows = 4 * Math.ceil(head.V / 4);
  const mapping = matvecMapping(recorder.tier, 2 * D);
  const workgroups = Math.ceil(rows / (4 * mapping.SLOTS));
  const y = Math.ceil(workgroups / MOST_WORKGROUPS);
  kernel.record(recorder, {
    lanes: Math.max(mapping.LANES, READING),
    overrides: { ROWS: rows, COLS: D, ...fewTokens(kernel.name, D, rows, { tokens, xStride }), ...mapping },
    buffers: { table, row_scale: rowScale, x, state, logits },
    workgroups: [Math.ceil(workgroups / y), y],
    cost: { bytesRead: head.bytes + 4 * tokens * D, bytesWritten: 4 * tokens * rows, multiplyAdds: tokens * rows * D },
  });
}
