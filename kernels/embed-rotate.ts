import shader from "../wgsl/embed-rotate.wgsl";
import { defineKernel, type KernelTier, type Recorder, SOFTWARE_THREADS } from "./define-kernel";
import { int8RowWords } from "./int8-row";

const kernel = defineKernel({
  name: "embed-rotate",
  shader,
  bindings: { table: "read", row_scale: "read", rotation: "read", tokens: "read", state: "read", x: "write", x8: "write" },
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

/** What wgsl/lib/rotation.wgsl is specialised for. */
export const rotationOverrides = ({ software }: KernelTier, { dct, hadamard }: RotationBuffer, D: number) => ({
  THREADS: software ? SOFTWARE_THREADS : 256,
  D,
  DCT: dct,
  HADAMARD: hadamard,
});

export interface EmbedRotateArgs {
  embedding: VocabularyTable;
  rotation: RotationBuffer;
  /** u32 [tokens]. */
  ids: GPUBuffer;
  state: GPUBuffer;
  /** f32 [tokens, stride]. */
  x: GPUBuffer;
  /** A multiple of 64. */
  stride: number;
  /** int8 rows [tokens, stride] of x, written where `int8` says so. */
  x8: GPUBuffer;
  int8: boolean;
  tokens: number;
}

/** x[t] = embedding[id[t]] R. Equation in wgsl/embed-rotate.wgsl. */
export function embedRotate(
  recorder: Recorder,
  { embedding, rotation, ids, state, x, stride, x8, int8, tokens }: EmbedRotateArgs,
): void {
  const { table, rowScale, D } = embedding;
  kernel.record(recorder, {
    overrides: {
      ...rotationOverrides(recorder.tier, rotation, D),
      STRIDE: stride,
      INT8: Number(int8),
      ROW8_COLS: stride,
    },
    buffers: { table, row_scale: rowScale, rotation: rotation.buffer, tokens: ids, state, x, x8 },
    workgroups: [tokens],
    cost: {
      bytesRead: tokens * (D + 8) + rotation.buffer.size,
      bytesWritten: 4 * tokens * (D + (int8 ? int8RowWords(stride) : 0)),
      multiplyAdds: tokens * D * (rotation.dct + Math.log2(rotation.hadamard)),
    },
  });
}
