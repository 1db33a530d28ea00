/** What every kernel test needs: a device, seeded random data, buffers in and out, and the error measures of the gates. */
import type { Recorder } from "../../kernels/define-kernel";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Gpu, type GpuOptions } from "../../runtime/gpu/device";
import { Program } from "../../runtime/gpu/program";

/** A device with the given options; a missing adapter fails the test, it never skips. */
export async function testGpu(options: GpuOptions = {}): Promise<Gpu> {
  return Gpu.request(await requestNodeGpu(), options);
}

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

/** Runs what `body` records once. */
export async function runOnce(gpu: Gpu, body: (recorder: Recorder) => void): Promise<void> {
  const program = await Program.record(gpu, body);
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  program.replay(pass);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  await gpu.device.queue.onSubmittedWorkDone();
  gpu.check();
}

/** Usage of buffers that a test writes and reads back. */
export const READABLE = 0x80 | 0x04; // STORAGE | COPY_SRC, before the WebGPU globals exist

export async function readBytes(gpu: Gpu, buffer: GPUBuffer): Promise<ArrayBuffer> {
  const staging = gpu.device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  gpu.device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const bytes = staging.getMappedRange().slice(0);
  staging.destroy();
  return bytes;
}

export const readFloats = async (gpu: Gpu, buffer: GPUBuffer): Promise<Float32Array> =>
  new Float32Array(await readBytes(gpu, buffer));

/** Step state as wgsl/lib/step-state.wgsl lays it out. */
export function stepState(
  gpu: Gpu,
  { position = 0, count = 1, row = 0 }: { position?: number; count?: number; row?: number },
): GPUBuffer {
  return gpu.upload("state", Uint32Array.of(position, count, row, 0, 0, 0, 0, 0), READABLE);
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

/** The tiers every kernel must pass on: portable and subgroups, the GPU's mapping and the software one, f16 where offered. */
export const TIERS: Record<string, GpuOptions> = {
  "GPU mapping": { software: false, disable: ["shader-f16", "subgroups"] },
  "GPU mapping, subgroups": { software: false, disable: ["shader-f16"] },
  "software mapping": { software: true, disable: ["shader-f16", "subgroups"] },
};

/** Prefill kernels have one mapping; f16 tiles where the adapter has shader-f16 (its own gate: f16 inputs, f32 sums). */
export const MATMUL_TIERS: { name: string; options: GpuOptions; gate: number }[] = [
  { name: "f32 tiles", options: { disable: ["shader-f16"] }, gate: 1e-10 },
  { name: "f16 tiles where offered", options: {}, gate: 1e-6 },
];
