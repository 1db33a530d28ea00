/**
 * Record once, replay per token: a program is a list of dispatches whose pipelines and bind groups were made when it was
 * recorded. Replaying it makes no object and touches no buffer from the host; but for bind groups of buffers that were replaced
 * since.
 */
import { type Cost, type Dispatch, KernelShapeError, type KernelTier, type Recorder } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import type { Gpu } from "./device";

interface Step {
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  dispatch: Dispatch;
}

export interface ProgramRow {
  kernel: string;
  cost: Cost;
}

export class Program {
  /** Kernel and cost of every dispatch, in order: what profiles and counts are built on. */
  readonly rows: readonly ProgramRow[];
  private readonly gpu: Gpu;
  private readonly steps: readonly Step[];
  /** `gpu.replaced` when the bind groups were made. */
  private replaced: number;

  private constructor(gpu: Gpu, steps: readonly Step[], replaced: number) {
    this.gpu = gpu;
    this.steps = steps;
    this.replaced = replaced;
    this.rows = steps.map(({ dispatch: { kernel, cost } }) => ({ kernel: kernel.name, cost }));
  }

  /**
   * Records what `body` dispatches and compiles its pipelines, all at once. A lesser `tier` than the device's own picks the
   * variants that do without a feature.
   * @throws OchreError KERNEL_SHAPE when a kernel cannot compute a shape that it was given.
   */
  static async record(gpu: Gpu, body: (recorder: Recorder) => void, tier = gpu.tier): Promise<Program> {
    const dispatches: Dispatch[] = [];
    try {
      body(new DispatchList(tier, dispatches));
    } catch (cause) {
      if (!(cause instanceof KernelShapeError)) throw cause;
      throw new OchreError("KERNEL_SHAPE", cause.message, { cause });
    }
    const { replaced } = gpu;
    const steps = await Promise.all(
      dispatches.map(async (dispatch) => ({
        pipeline: await gpu.pipeline(dispatch),
        bindGroup: gpu.bindGroup(dispatch),
        dispatch,
      })),
    );
    gpu.check();
    return new Program(gpu, steps, replaced);
  }

  get dispatchCount(): number {
    return this.steps.length;
  }

  /** Bytes that one replay reads and writes, growing lengths at their maximum. */
  get bytes(): number {
    return this.rows.reduce((sum, { cost }) => sum + cost.bytesRead + cost.bytesWritten, 0);
  }

  /** Replays in a submit of its own. */
  submit({ device }: Gpu): void {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    this.replay(pass);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  replay(pass: GPUComputePassEncoder): void {
    if (this.replaced !== this.gpu.replaced) this.rebind();
    for (const { pipeline, bindGroup, dispatch } of this.steps) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(...dispatch.workgroups);
    }
  }

  /** New bind groups for the dispatches whose buffers were replaced, and for no other. */
  private rebind(): void {
    const { gpu } = this;
    this.replaced = gpu.replaced;
    for (const step of this.steps) {
      const { buffers } = step.dispatch;
      if (Object.values(buffers).every((buffer) => gpu.current(buffer) === buffer)) continue;
      const current = Object.entries(buffers).map(([name, buffer]) => [name, gpu.current(buffer)]);
      step.dispatch = { ...step.dispatch, buffers: Object.fromEntries(current) };
      step.bindGroup = gpu.bindGroup(step.dispatch);
    }
  }
}

class DispatchList implements Recorder {
  readonly tier: KernelTier;
  private readonly list: Dispatch[];

  constructor(tier: KernelTier, list: Dispatch[]) {
    this.tier = tier;
    this.list = list;
  }

  dispatch(dispatch: Dispatch): void {
    this.list.push(dispatch);
  }
}
