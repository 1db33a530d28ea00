/**
 * Record once, replay per token: a program is a list of dispatches whose pipelines and bind groups were made when it was
 * recorded. Replaying it makes no object and touches no buffer from the host.
 */
import { type Cost, type Dispatch, KernelShapeError, type KernelTier, type Recorder } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import type { Gpu } from "./device";

interface Step {
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  workgroups: Dispatch["workgroups"];
}

export interface ProgramRow {
  kernel: string;
  cost: Cost;
}

export class Program {
  /** Kernel and cost of every dispatch, in order: what profiles and counts are built on. */
  readonly rows: readonly ProgramRow[];
  private readonly steps: readonly Step[];

  private constructor(steps: readonly Step[], rows: readonly ProgramRow[]) {
    this.steps = steps;
    this.rows = rows;
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
    const steps = await Promise.all(
      dispatches.map(async (dispatch) => ({
        pipeline: await gpu.pipeline(dispatch),
        bindGroup: gpu.bindGroup(dispatch),
        workgroups: dispatch.workgroups,
      })),
    );
    gpu.check();
    return new Program(
      steps,
      dispatches.map(({ kernel, cost }) => ({ kernel: kernel.name, cost })),
    );
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
    for (const { pipeline, bindGroup, workgroups } of this.steps) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(...workgroups);
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
