/** What every kernel test needs: a device, the tiers to run on, buffers back; data and gates are the self-test's. */
import type { Recorder } from "../../kernels/define-kernel";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { readBytes } from "../../runtime/engine/self-test/data";
import { Gpu, type GpuOptions } from "../../runtime/gpu/device";
import { Program } from "../../runtime/gpu/program";

// Shared with the self-test, which ships: a visitor's device meets the same data.
export { nmse, normals, padRows, READABLE, random, readBytes, stepState } from "../../runtime/engine/self-test/data";

/** A device with the given options; a missing adapter fails the test, it never skips. */
export async function testGpu(options: GpuOptions = {}): Promise<Gpu> {
  return Gpu.request(await requestNodeGpu(), options);
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

export const readFloats = async (gpu: Gpu, buffer: GPUBuffer): Promise<Float32Array> =>
  new Float32Array(await readBytes(gpu, buffer));

/** The tiers every kernel must pass on: portable and subgroups, tables in f32, many lanes, the GPU's mapping and the software one. */
export const TIERS: Record<string, GpuOptions> = {
  "GPU mapping": { choice: { software: false }, disable: ["shader-f16", "subgroups"] },
  "GPU mapping, subgroups": { choice: { software: false }, disable: ["shader-f16"] },
  "GPU mapping, f32 pairs": { choice: { software: false, f32Pairs: true }, disable: ["shader-f16", "subgroups"] },
  "GPU mapping, 64 lanes": { choice: { software: false, lanes: 64 }, disable: ["shader-f16", "subgroups"] },
  "software mapping": { choice: { software: true }, disable: ["shader-f16", "subgroups"] },
  "software mapping, subgroups": { choice: { software: true }, disable: ["shader-f16"] },
};

/** Kernels whose threads hand round what each has read where subgroups allow it. */
export const SHARING: Record<string, GpuOptions> = {
  portable: { disable: ["subgroups"] },
  "subgroups where offered": {},
};

/** Prefill kernels have one mapping; f16 tiles where the adapter has shader-f16 (its own gate: f16 inputs, f32 sums). */
export const MATMUL_TIERS: { name: string; options: GpuOptions; gate: number }[] = [
  { name: "f32 tiles", options: { disable: ["shader-f16"] }, gate: 1e-10 },
  { name: "f16 tiles where offered", options: {}, gate: 1e-6 },
];
