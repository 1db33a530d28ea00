import shader from "../wgsl/embed-rotate.wgsl";
import { defineKernel, type Recorder } from "./define-kernel";

const kernel = defineKernel({
  name: "embed-rotate",
  shader,
  bindings: { table: "read", row_scale: "read", rotation: "read", tokens: "read", state: "read", x: "write" },
});

/** A vocabulary table on the GPU: the embedding, and the head where it is tied. */
export interface VocabularyTable {
  /** int8 [V padded to 4, D], four to a word. */
  table: GPUBuffer;
  /** f32 [V padded to 4]. */
  rowScale: GPUBuffer;
  V: number;
  /** A multiple of 16. */
  D: number;
  bytes: number;
}

/** R1 on the GPU: f32 [dct * dct cosines, then D signs]. `dct` 0 (and `hadamard` 1): unrotated. */
export interface RotationBuffer {
  buffer: GPUBuffer;
  dct: number;
  hadamard: number;
}

export interface EmbedRotateArgs {
  embedding: VocabularyTable;
  rotation: RotationBuffer;
  /** u32 [tokens]. */
  ids: GPUBuffer;
  state: GPUBuffer;
  /** f32 [tokens, stride]. */
  x: GPUBuffer;
  stride: number;
  tokens: number;
}

/** x[t] = embedding[id[t]] R. Equation in wgsl/embed-rotate.wgsl. */
export function embedRotate(recorder: Recorder, { embedding, rotation, ids, state, x, stride, tokens }: EmbedRotateArgs): void {
  const { table, rowScale, D } = embedding;
  kernel.record(recorder, {
    overrides: { D, DCT: rotation.dct, HADAMARD: rotation.hadamard, STRIDE: stride },
    buffers: { table, row_scale: rowScale, rotation: rotation.buffer, tokens: ids, state, x },
    workgroups: [tokens],
    cost: {
      bytesRead: tokens * (D + 8) + rotation.buffer.size,
      bytesWritten: 4 * tokens * D,
      multiplyAdds: tokens * D * (rotation.dct + Math.log2(rotation.hadamard)),
    },
  });
}
