/** Buffers of one task on the GPU, released together, and what is read back of them. */
import type { Recorder } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";

export class TaskBuffers {
  private readonly made = new Set<GPUBuffer>();

  private constructor(private readonly gpu: Gpu) {}

  /** @throws OchreError GPU_MEMORY, GPU_LOST, and what `task` throws. */
  static async use<T>(gpu: Gpu, task: (buffers: TaskBuffers) => Promise<T>): Promise<T> {
    const buffers = new TaskBuffers(gpu);
    try {
      return await task(buffers);
    } catch (cause) {
      if (cause instanceof OchreError) throw cause;
      // The news that the device is lost comes by another way, and may be a task late.
      await new Promise((resolve) => setTimeout(resolve));
      gpu.check();
      throw new OchreError("INTERNAL", `[palettize] a step on the GPU failed: ${String(cause)}`, { cause });
    } finally {
      for (const buffer of buffers.made) gpu.release(buffer);
    }
  }

  /** Zeroed. */
  make(label: string, bytes: number): GPUBuffer {
    return this.keep(this.gpu.buffer(label, bytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC));
  }

  /** Of memory that threads share too, which Dawn for Node does not take. */
  upload(label: string, data: Float32Array | Uint32Array): GPUBuffer {
    const own = data.buffer instanceof ArrayBuffer ? data : data.slice();
    return this.keep(this.gpu.upload(label, own, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC));
  }

  /** Once what was submitted with it is done. */
  release(buffer: GPUBuffer): void {
    this.made.delete(buffer);
    this.gpu.release(buffer);
  }

  async run(record: (recorder: Recorder) => void): Promise<void> {
    (await Program.record(this.gpu, record)).submit(this.gpu);
  }

  /** The contents of buffers, after all that was submitted. */
  async read(...buffers: GPUBuffer[]): Promise<ArrayBuffer[]> {
    const { gpu } = this;
    const bytes = buffers.reduce((sum, { size }) => sum + size, 0);
    const staging = this.keep(gpu.buffer("results", bytes, GPUBufferUsage.MAP_READ));
    const encoder = gpu.device.createCommandEncoder();
    let at = 0;
    const ranges = buffers.map((buffer) => {
      const range = [at, at + buffer.size] as const;
      encoder.copyBufferToBuffer(buffer, 0, staging, at, buffer.size);
      at += buffer.size;
      return range;
    });
    gpu.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    gpu.check();
    const mapped = staging.getMappedRange();
    const contents = ranges.map(([from, to]) => mapped.slice(from, to));
    staging.unmap();
    this.release(staging);
    return contents;
  }

  private keep(buffer: GPUBuffer): GPUBuffer {
    this.made.add(buffer);
    return buffer;
  }
}
