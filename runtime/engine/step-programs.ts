/** What is recorded over one sequence's buffers: the passes over the model by their number of tokens, head and sampling. */
import { MOST_FEW } from "../../kernels/define-kernel";
import type { KvFormat } from "../../kernels/kv-cache";
import { sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { sampleThreshold } from "../../kernels/sample-threshold";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { AdapterStore } from "./adapter-store";
import type { ModelConfig } from "./config";
import { forward, head } from "./forward";
import type { StepBuffers } from "./step-buffers";
import type { ModelWeights } from "./weights";

/** What a sequence needs of its engine. */
export interface SequenceModel {
  gpu: Gpu;
  config: ModelConfig;
  weights: ModelWeights;
  /** Of the caches; default 8 bits. */
  kv?: KvFormat;
  /** Absent where none can be loaded. */
  adapters?: AdapterStore;
}

/** From the residual stream of some rows to their tokens. */
export interface Sampler {
  /** The logits. */
  head: Program;
  /** The lowest logits that may be sampled. */
  threshold: Program;
  /** Tokens from the logits, as many as count; the last becomes the next step's input. */
  sample: Program;
}

/** What checks guesses: a pass over a few tokens, and the sampler of all their rows. */
export interface CheckPrograms {
  pass: Program;
  sampler: Sampler;
}

/** Tokens of a prefill tile. */
export const TILE_TOKENS = 64;

/** Tokens that the programs of a step are recorded for: 1, 2, 4 or 8 in the decode kernels up to `few`, else whole tiles. */
export const capacityOf = (tokens: number, few = MOST_FEW): number =>
  tokens <= few ? 2 ** Math.ceil(Math.log2(tokens)) : TILE_TOKENS * Math.ceil(tokens / TILE_TOKENS);

/** Passes by their capacity, and what checks guesses with them. */
interface Passes {
  adapted: boolean;
  passes: Map<number, Promise<Program>>;
  checks: Map<number, Promise<CheckPrograms>>;
  ready: Map<number, CheckPrograms>;
}

export class StepPrograms {
  /** One token through the layers. */
  decode: Program;
  /** Of one row. */
  readonly sampler: Sampler;
  private readonly model: SequenceModel;
  private readonly step: StepBuffers;
  /** By capacity. */
  private readonly samplers = new Map<number, Promise<Sampler>>();
  private readonly plain = noPasses(false);
  private readonly adapted = noPasses(true);
  /** Those of the two that run. */
  private current = this.plain;
  private failure: unknown;

  private constructor(model: SequenceModel, step: StepBuffers, decode: Program, sampler: Sampler) {
    this.model = model;
    this.step = step;
    this.decode = decode;
    this.plain.passes.set(1, Promise.resolve(decode));
    this.sampler = sampler;
  }

  /** From now on passes with adapters, or without; those of decoding and of tiles are compiled at the first time. */
  async adapt(adapted: boolean): Promise<void> {
    const before = this.current;
    this.current = adapted ? this.adapted : this.plain;
    try {
      [this.decode] = await Promise.all([this.pass(1), this.pass(TILE_TOKENS)]);
    } catch (error) {
      this.current = before;
      throw error;
    }
  }

  /** Compiles every pipeline of decoding token by token and of prefill in tiles; those of few tokens when they are needed. */
  static async record(model: SequenceModel, step: StepBuffers): Promise<StepPrograms> {
    const [decode, sampler] = await Promise.all([recordPass(model, step, 1, false), recordSampler(model, step, 1)]);
    const programs = new StepPrograms(model, step, decode, sampler);
    await programs.pass(TILE_TOKENS);
    return programs;
  }

  /** A pass of `tokens` tokens through the layers; the step state says how many there are, to the capacity at most. */
  async pass(tokens: number, few = MOST_FEW): Promise<Program> {
    const { passes, adapted } = this.current;
    return recorded(passes, capacityOf(tokens, few), (capacity) => recordPass(this.model, this.step, capacity, adapted));
  }

  /** A pass of a few tokens, and the sampler of all their rows. */
  check(tokens: number): Promise<CheckPrograms> {
    const { checks, ready } = this.current;
    return recorded(checks, capacityOf(tokens), async (capacity) => {
      const ofRows = recorded(this.samplers, capacity, (rows) => recordSampler(this.model, this.step, rows));
      const [pass, sampler] = await Promise.all([this.pass(tokens), ofRows]);
      const programs = { pass, sampler };
      ready.set(capacity, programs);
      return programs;
    });
  }

  /** The same, or undefined until they are compiled, which begins with the first call. @throws what compiling met. */
  checkWhenReady(tokens: number): CheckPrograms | undefined {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
    const { checks, ready } = this.current;
    const capacity = capacityOf(tokens);
    if (!checks.has(capacity)) {
      this.check(tokens).catch((error) => {
        this.failure = error;
      });
    }
    return ready.get(capacity);
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

function recorded<T>(known: Map<number, Promise<T>>, capacity: number, record: (capacity: number) => Promise<T>): Promise<T> {
  let made = known.get(capacity);
  if (!made) {
    made = record(capacity);
    known.set(capacity, made);
    made.catch(() => known.delete(capacity)); // who asked for it meets the error; who asks next tries again
  }
  return made;
}

const noPasses = (adapted: boolean): Passes => ({ adapted, passes: new Map(), checks: new Map(), ready: new Map() });

function recordPass(model: SequenceModel, step: StepBuffers, tokens: number, adapted: boolean): Promise<Program> {
  const { gpu, config, weights, adapters } = model;
  const buffers = adapted
    ? { arena: adapters!.arena, table: step.adapterTable!, z: step.adapterRanks! } // allocated before the first such pass
    : undefined;
  return Program.record(gpu, (recorder) => forward(recorder, config, weights, step, tokens, buffers));
}

async function recordSampler({ gpu, config, weights }: SequenceModel, step: StepBuffers, rows: number): Promise<Sampler> {
  const { logits, sampling, state, thresholds, best, ids, results } = step;
  const { V } = config;
  const [ofHead, threshold, sample] = await Promise.all([
    Program.record(gpu, (recorder) => head(recorder, config, weights, step, rows)),
    Program.record(gpu, (recorder) => sampleThreshold(recorder, { logits, V, sampling, state, thresholds, rows })),
    Program.record(gpu, (recorder) => {
      sampleGumbel(recorder, { logits, V, sampling, state, thresholds, best, rows });
      samplePick(recorder, { best, V, sampling, state, ids, results });
    }),
  ]);
  return { head: ofHead, threshold, sample };
}
