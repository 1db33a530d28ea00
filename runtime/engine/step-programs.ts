/** What is recorded over one sequence's buffers: the passes over the model by their number of tokens, head and sampling. */
import { sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { sampleThreshold } from "../../kernels/sample-threshold";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { ModelConfig } from "./config";
import { forward, head } from "./forward";
import type { StepBuffers } from "./step-buffers";
import type { ModelWeights } from "./weights";

/** What a sequence needs of its engine. */
export interface SequenceModel {
  gpu: Gpu;
  config: ModelConfig;
  weights: ModelWeights;
}

/** Tokens of a prefill tile. */
export const TILE_TOKENS = 64;

export class StepPrograms {
  /** One token through the layers. */
  readonly decode: Program;
  /** The logits of the step's row. */
  readonly head: Program;
  /** The lowest logit that may be sampled. */
  readonly threshold: Program;
  /** A token from the logits, which becomes the next step's input. */
  readonly sample: Program;
  private readonly model: SequenceModel;
  private readonly step: StepBuffers;
  /** By the most tokens of a step. */
  private readonly prefills = new Map<number, Program>();

  private constructor(model: SequenceModel, step: StepBuffers, programs: Program[]) {
    this.model = model;
    this.step = step;
    [this.decode, this.head, this.threshold, this.sample] = programs;
  }

  /** Compiles every pipeline of decoding and of prefill in tiles. */
  static async record(model: SequenceModel, step: StepBuffers): Promise<StepPrograms> {
    const { gpu, config, weights } = model;
    const { logits, sampling, state, thresholds, best, ids, results } = step;
    const { V } = config;
    const recorded = await Promise.all([
      Program.record(gpu, (recorder) => forward(recorder, config, weights, step, 1)),
      Program.record(gpu, (recorder) => head(recorder, config, weights, step)),
      Program.record(gpu, (recorder) => sampleThreshold(recorder, { logits, V, sampling, state, thresholds })),
      Program.record(gpu, (recorder) => {
        sampleGumbel(recorder, { logits, V, sampling, state, thresholds, best });
        samplePick(recorder, { best, V, sampling, state, ids, results });
      }),
    ]);
    const programs = new StepPrograms(model, step, recorded);
    await programs.forward(TILE_TOKENS);
    return programs;
  }

  /** A pass of at least `tokens` tokens through the layers; how many there are is in the step state. */
  async forward(tokens: number): Promise<Program> {
    if (tokens === 1) return this.decode;
    const capacity = TILE_TOKENS * Math.ceil(tokens / TILE_TOKENS);
    let program = this.prefills.get(capacity);
    if (!program) {
      const { gpu, config, weights } = this.model;
      program = await Program.record(gpu, (recorder) => forward(recorder, config, weights, this.step, capacity));
      this.prefills.set(capacity, program);
    }
    return program;
  }

  /** Replays programs in one submit; `after` encodes what follows them. */
  submit(programs: readonly Program[], after?: (encoder: GPUCommandEncoder) => void): void {
    const { device } = this.model.gpu;
    const encoder = device.createCommandEncoder();
    if (programs.length > 0) {
      const pass = encoder.beginComputePass();
      for (const program of programs) program.replay(pass);
      pass.end();
    }
    after?.(encoder);
    device.queue.submit([encoder.finish()]);
  }
}
