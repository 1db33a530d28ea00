/** Seeded random data, operands on the GPU and the error measure of the gates: what kernel tests and the self-test share. */
import type { Gpu } from "../../gpu/device";

/** Where operands are made: a device, or something that keeps track of what it made. */
export type Allocator = Pick<Gpu, "buffer" | "upload">;

/** Usage of buffers that are written and read back: STORAGE | COPY_SRC, by number since Node has WebGPU's globals late. */
export const READABLE = 0x80 | 0x04;

/** Mulberry32: uniform in [0, 1), the same everywhere. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Standard normal values. */
export function normals(count: number, seed: number, scale = 1): Float32Array {
  const uniform = random(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return scale * radius * Math.cos(2 * Math.PI * uniform());
  });
}

/** x padded with zeros to the padded width, one row after the other. */
export function padRows(x: Float32Array, tokens: number, cols: number, stride: number): Float32Array {
  const padded = new Float32Array(tokens * stride);
  for (let t = 0; t < tokens; t++) padded.set(x.subarray(t * cols, (t + 1) * cols), t * stride);
  return padded;
}

/** Step state as wgsl/lib/step-state.wgsl lays it out. */
export function stepState(
  on: Allocator,
  { position = 0, count = 1, row = 0 }: { position?: number; count?: number; row?: number },
): GPUBuffer {
  return on.upload("state", Uint32Array.of(position, count, row, 0, 0, 0, 0, 0), READABLE);
}

export async function readBytes({ device }: Gpu, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const staging = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  try {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    return staging.getMappedRange().slice(0);
  } finally {
    staging.destroy();
  }
}

/** Normalised mean square error: sum (a - b)^2 / sum b^2. Not a number anywhere counts as infinite error. */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  let power = 0;
  for (let i = 0; i < expected.length; i++) {
    error += (actual[i] - expected[i]) ** 2;
    power += expected[i] ** 2;
  }
  const ratio = power === 0 ? error : error / power;
  return Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : ratio;
}
