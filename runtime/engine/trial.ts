/** One choice of kernels tried on the model's own weights: what it would dispatch for a token, and how long that takes. */
import { type Dispatch, type KernelChoice, KernelShapeError, type KernelTier, type Recorder } from "../../kernels/define-kernel";
import { OchreError } from "../errors";
import { Program } from "../gpu/program";
import { forward, head } from "./forward";
import { allocateStep, releaseStep, STATE_BYTES, type StepBuffers } from "./step-buffers";
import type { SequenceModel } from "./step-programs";

/** Layers run in turn, so that a layer's weights have left the caches when it comes again, as between two tokens. */
const MOST_LAYERS = 16;
/** Window of the trial's own cache; its one token stands at position 0. */
const CONTEXT_TOKENS = 64;

type Body = (recorder: Recorder) => void;

export class Trial {
  readonly choice: KernelChoice;
  readonly tier: KernelTier;
  /** Kernel, variant, overrides and workgroups of a layer's dispatches and the head's: equal sets run the same. */
  readonly dispatches = new Map<string, { kernel: string; shader: string }>();
  /** Milliseconds of a token, measured. */
  readonly samples: number[] = [];
  /** Its kernels gave what their twins give; undefined where they were not asked. */
  ok?: boolean;
  /** Why it cannot be used. */
  error?: string;
  private readonly model: SequenceModel;
  private readonly step: StepBuffers;
  private readonly layerBodies: Body[];
  private readonly headBody: Body;
  private programs: Program[] = [];
  private compiling: Promise<void> | undefined;

  /** Leaves the device with `choice` chosen. */
  constructor(model: SequenceModel, choice: KernelChoice) {
    const { gpu, weights, kv } = model;
    gpu.choose(choice);
    this.model = model;
    this.choice = choice;
    this.tier = gpu.tier;
    const config = { ...model.config, L: 1 };
    const step = allocateStep(gpu, config, CONTEXT_TOKENS, 1, kv);
    this.step = step;
    const state = new Uint32Array(STATE_BYTES / 4);
    state.set([0, 1, 0]); // position, count, row
    gpu.write(step.state, 0, state);
    const count = Math.min(MOST_LAYERS, weights.layers.length);
    this.layerBodies = Array.from({ length: count }, (_, i) => {
      const layers = [weights.layers[Math.floor((i * weights.layers.length) / count)]];
      return (recorder) => forward(recorder, config, { ...weights, layers }, step, 1);
    });
    this.headBody = (recorder) => head(recorder, config, weights, step);
    this.list();
  }

  /** Median of the samples; undefined before there is one. */
  get msPerToken(): number | undefined {
    return this.samples.length > 0 ? median(this.samples) : undefined;
  }

  /** Dispatches of one layer. */
  get layerDispatches(): number {
    return this.programs[1]?.dispatchCount ?? 1;
  }

  /** Faster by more than `share` of the other's time, and in every round but one at most: samples are taken in turn. */
  beats(other: Trial, share: number): boolean {
    if (this.msPerToken === undefined || other.msPerToken === undefined) return false;
    const rounds = Math.min(this.samples.length, other.samples.length);
    const lost = this.samples.slice(0, rounds).filter((sample, round) => sample >= other.samples[round]).length;
    return this.msPerToken < (1 - share) * other.msPerToken && lost <= 1;
  }

  /** Compiles. A kernel that the device refuses is the trial's `error`. @throws OchreError GPU_LOST. */
  async compile(): Promise<void> {
    const { gpu } = this.model;
    this.compiling = this.attempt(async () => {
      this.programs = await Promise.all([this.headBody, ...this.layerBodies].map((body) => Program.record(gpu, body, this.tier)));
    }).then(() => {
      this.compiling = undefined;
    });
    await this.compiling;
  }

  /**
   * Milliseconds of `passes` layers in one submit, with the head after as many as the model has.
   * Undefined where the trial failed, now or before. @throws OchreError GPU_LOST.
   */
  async time(passes: number): Promise<number | undefined> {
    const [headProgram, ...layers] = this.programs;
    if (this.error !== undefined || !headProgram) return undefined;
    const { gpu, config } = this.model;
    return this.attempt(async () => {
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 1; i <= passes; i++) {
        layers[i % layers.length].replay(pass);
        if (i % config.L === 0) headProgram.replay(pass);
      }
      pass.end();
      const commands = encoder.finish();
      const startedAt = performance.now();
      gpu.device.queue.submit([commands]);
      await gpu.device.queue.onSubmittedWorkDone();
      gpu.check();
      return performance.now() - startedAt;
    });
  }

  /** Frees its buffers, once nothing compiles against them any more. */
  release(): void {
    const free = () => releaseStep(this.model.gpu, this.step);
    if (this.compiling) this.compiling.then(free, free);
    else free();
  }

  private list(): void {
    const record = ({ kernel, variant, overrides, shape, workgroups }: Dispatch) => {
      const key = JSON.stringify([kernel.name, variant, overrides, shape, workgroups]);
      this.dispatches.set(key, { kernel: kernel.name, shader: kernel.shader[variant] });
    };
    const recorder: Recorder = { tier: this.tier, dispatch: record };
    try {
      for (const body of [this.layerBodies[0], this.headBody]) body(recorder);
    } catch (error) {
      if (!(error instanceof KernelShapeError)) throw error;
      this.error = error.message;
    }
  }

  private async attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof OchreError && error.code === "GPU_LOST") throw error;
      this.error = error instanceof Error ? error.message : String(error);
      return undefined;
    }
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
