/**
 * Compiles a decode step for the chip that RADV_FORCE_FAMILY names, in a process of its own: the driver reads its
 * environment when it is loaded, and prints what it made on stderr, between the marks written here.
 */
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Gpu } from "../../runtime/gpu/device";
import { decodeCompilations } from "./decode-step";

/** Begins the line in front of one compilation's output; a JSON object follows. */
export const MARK = "@@compile ";
/** Begins the line that names the driver. */
export const DRIVER_MARK = "@@driver ";

export async function main(): Promise<void> {
  const gpu = await Gpu.request(await requestNodeGpu(), { choice: { software: false } });
  takeMemoryAway(gpu.device);
  process.stderr.write(`${DRIVER_MARK}${gpu.device.adapterInfo.description}\n`);
  for (const { dispatch, ...what } of decodeCompilations(gpu)) {
    const bindings = Object.keys(dispatch.kernel.bindings);
    process.stderr.write(`\n${MARK}${JSON.stringify({ ...what, bindings })}\n`);
    await gpu.pipeline(dispatch); // one after the other, or their output would mix
  }
  gpu.check();
}

/** The null device has none: buffers become a label and a size, which is all that recording asks of them. */
function takeMemoryAway(device: GPUDevice): void {
  Object.defineProperties(device, {
    createBuffer: { value: ({ label, size }: GPUBufferDescriptor) => ({ label, size }) },
    queue: { value: { writeBuffer() {} } },
  });
}
