/** Second moments on the GPU, in pieces of tokens and bands of rows that fit its bindings. Sums are those of `addMoments`, in its order. */
import { MOMENTS_TILE, moments as recordMoments } from "../../kernels/moments";
import { padTo } from "../formats/palettized";
import type { Gpu } from "../gpu/device";
import { TaskBuffers } from "./gpu-buffers";

/** Bytes of a piece, where the device allows more. */
const PIECE_BYTES = 2 ** 26;

/**
 * moments += X^T X of x [tokens, cols], as `addMoments` does.
 * @param moments [cols, cols], both halves.
 * @throws OchreError GPU_MEMORY, GPU_LOST.
 */
export async function addMomentsOnGpu(
  gpu: Gpu,
  moments: Float32Array,
  x: Float32Array,
  tokens: number,
  pieceBytes = PIECE_BYTES,
): Promise<void> {
  const cols = x.length / tokens;
  const stride = padTo(cols, MOMENTS_TILE);
  const rowBytes = 4 * stride;
  const most = Math.min(pieceBytes, gpu.device.limits.maxStorageBufferBindingSize);
  const pieceTokens = Math.max(1, Math.floor(most / rowBytes));
  const bandRows = Math.max(MOMENTS_TILE, Math.floor(most / rowBytes / MOMENTS_TILE) * MOMENTS_TILE);
  for (let firstRow = 0; firstRow < cols; firstRow += bandRows) {
    const rows = Math.min(bandRows, stride - firstRow);
    const before = new Float32Array(rows * stride);
    before.set(padded(moments.subarray(firstRow * cols, (firstRow + rows) * cols), cols, stride));
    const band = await TaskBuffers.use(gpu, async (buffers) => {
      const m = buffers.upload("moments", before);
      for (let from = 0; from < tokens; from += pieceTokens) {
        const count = Math.min(pieceTokens, tokens - from);
        const piece = buffers.upload("inputs", padded(x.subarray(from * cols, (from + count) * cols), cols, stride));
        await buffers.run((recorder) => recordMoments(recorder, { x: piece, tokens: count, stride, m, firstRow, rows }));
        buffers.release(piece);
      }
      const [bytes] = await buffers.read(m);
      return new Float32Array(bytes);
    });
    for (let i = firstRow; i < Math.min(cols, firstRow + rows); i++) {
      const row = band.subarray((i - firstRow) * stride, (i - firstRow) * stride + i + 1);
      moments.set(row, i * cols);
      for (let j = 0; j < i; j++) moments[j * cols + i] = row[j];
    }
  }
}

function padded(x: Float32Array, cols: number, stride: number): Float32Array {
  if (cols === stride) return x;
  const rows = new Float32Array((x.length / cols) * stride);
  for (let from = 0, to = 0; from < x.length; from += cols, to += stride) rows.set(x.subarray(from, from + cols), to);
  return rows;
}
