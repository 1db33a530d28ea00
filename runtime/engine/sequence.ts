/**
 * One context on the GPU: a KV cache, the ids whose keys and values it holds, and the programs recorded over it. While tokens
 * are decoded no GPU object is made: position, input id and stop flag live in the step state, which the sampler advances.
 */
import { sampleGumbel } from "../../kernels/sample-gumbel";
import { samplePick } from "../../kernels/sample-pick";
import { sampleThreshold } from "../../kernels/sample-threshold";
import { OchreError } from "../errors";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { ModelConfig } from "./config";
import { forward, head } from "./forward";
import { isFiltered, packSampling, type SamplingParams } from "./sampling";
import { allocateStep, kvBytes, MOST_STEPS, releaseStep, STATE_BYTES, type StepBuffers } from "./step-buffers";
import type { ModelWeights } from "./weights";

export interface DecodeOptions extends SamplingParams {
  /** Most tokens to sample. */
  maxTokens: number;
  signal?: AbortSignal;
}

/** What a sequence needs of its engine. */
export interface SequenceModel {
  gpu: Gpu;
  config: ModelConfig;
  weights: ModelWeights;
}

/** Tokens of a prefill step: whole tiles; fewer on software adapters, where a step of 64 already takes seconds. */
const chunkTokens = (gpu: Gpu): number => (gpu.tier.software ? 64 : 256);
const TILE_TOKENS = 64;
/** Time that a submit of several decode steps should take: short enough to stream smoothly and to abort at once. */
const SUBMIT_MS = 40;

export class Sequence {
  readonly contextTokens: number;
  readonly kvBytes: number;
  private readonly model: SequenceModel;
  private readonly step: StepBuffers;
  private readonly decodeProgram: Program;
  private readonly headProgram: Program;
  private readonly thresholdProgram: Program;
  private readonly sampleProgram: Program;
  /** By the most tokens of a step. */
  private readonly prefillPrograms = new Map<number, Program>();
  private readonly cached: number[] = [];
  /** What encoding and submitting has cost the CPU so far, and for how many tokens' passes. */
  readonly encoded = { ms: 0, tokens: 0 };
  /** The logits on the GPU follow from the last cached id. */
  private hasLogits = false;
  private disposed = false;

  private constructor(model: SequenceModel, step: StepBuffers, contextTokens: number, programs: Program[]) {
    this.model = model;
    this.step = step;
    this.contextTokens = contextTokens;
    this.kvBytes = kvBytes(step);
    [this.decodeProgram, this.headProgram, this.thresholdProgram, this.sampleProgram] = programs;
  }

  /** Allocates the cache and compiles every program. @throws OchreError GPU_MEMORY when there is no room. */
  static async create(model: SequenceModel, contextTokens: number): Promise<Sequence> {
    const { gpu, config, weights } = model;
    const step = await gpu.allocating(() => allocateStep(gpu, config, contextTokens, chunkTokens(gpu)));
    const { logits, sampling, state, best, ids, results } = step;
    const { V } = config;
    const recorded = Promise.all([
      Program.record(gpu, (recorder) => forward(recorder, config, weights, step, 1)),
      Program.record(gpu, (recorder) => head(recorder, config, weights, step)),
      Program.record(gpu, (recorder) => sampleThreshold(recorder, { logits, V, sampling, state })),
      Program.record(gpu, (recorder) => {
        sampleGumbel(recorder, { logits, V, sampling, state, best });
        samplePick(recorder, { best, V, sampling, state, ids, results });
      }),
    ]);
    try {
      const sequence = new Sequence(model, step, contextTokens, await recorded);
      await sequence.prefillProgram(TILE_TOKENS);
      return sequence;
    } catch (error) {
      releaseStep(gpu, step);
      throw error;
    }
  }

  /** Ids whose keys and values are cached. */
  get ids(): readonly number[] {
    return this.cached;
  }

  /** Dispatches of one decoded token at temperature 0. */
  get dispatchesPerToken(): number {
    return this.decodeProgram.dispatchCount + this.headProgram.dispatchCount + this.sampleProgram.dispatchCount;
  }

  /** Of those, each layer's: the pass over the layers begins with one look-up of the embedding. */
  get dispatchesPerLayer(): number {
    return (this.decodeProgram.dispatchCount - 1) / this.model.config.L;
  }

  /** Bytes that decoding the next token reads: weights, and keys and values so far. */
  bytesPerToken(): number {
    const { weights } = this.model;
    return weights.bytesPerToken + Math.round((this.kvBytes * this.cached.length) / this.contextTokens);
  }

  /** Forgets everything after the first `length` ids. */
  truncate(length: number): void {
    if (length >= this.cached.length) return;
    this.cached.length = length;
    this.hasLogits = false;
  }

  /**
   * Appends ids; afterwards the logits of the last are there to sample from. On abort or failure the chunks that were
   * computed stay cached.
   * @throws OchreError CONTEXT_FULL when they do not fit, INVALID_ARGUMENT for an id outside the vocabulary, GPU_LOST.
   */
  async prefill(ids: readonly number[], { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (ids.length === 0) return;
    for await (const last of this.chunks(ids, signal)) if (last) this.submit([this.headProgram]);
    await this.model.gpu.device.queue.onSubmittedWorkDone();
    this.model.gpu.check();
    this.hasLogits = true;
  }

  /** Appends ids and hands out the logits [V] after each: for evaluation. Throws as prefill does. */
  async prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void> {
    const { gpu, config } = this.model;
    const { logits, state } = this.step;
    const rowBytes = 4 * config.V;
    const staging = gpu.buffer("logits of a step", logits.size * chunkTokens(gpu), GPUBufferUsage.MAP_READ);
    try {
      let from = this.cached.length;
      for await (const _ of this.chunks(ids)) {
        const rows = this.cached.length - from;
        for (let row = 0; row < rows; row++) {
          gpu.device.queue.writeBuffer(state, 8, Uint32Array.of(row));
          this.submit([this.headProgram], (encoder) =>
            encoder.copyBufferToBuffer(logits, 0, staging, row * logits.size, logits.size),
          );
        }
        await staging.mapAsync(GPUMapMode.READ, 0, rows * logits.size);
        const mapped = staging.getMappedRange(0, rows * logits.size);
        for (let row = 0; row < rows; row++)
          onLogits(from + row, new Float32Array(mapped.slice(row * logits.size, row * logits.size + rowBytes)));
        staging.unmap();
        from = this.cached.length;
      }
      this.hasLogits = this.cached.length > 0;
    } finally {
      gpu.release(staging);
    }
  }

  /** One layer's cache as it stands: int8 codes [G, contextTokens, d], scales [G, contextTokens, 2] of k and v. */
  async readCache(layer: number): Promise<{ k: Int8Array; v: Int8Array; scales: Float32Array }> {
    const { k, v, scales } = this.step.kv[layer];
    return {
      k: new Int8Array(await this.read(k, k.size)),
      v: new Int8Array(await this.read(v, v.size)),
      scales: new Float32Array(await this.read(scales, scales.size)),
    };
  }

  /** Logits [V] of the last cached id. @throws OchreError INVALID_ARGUMENT before anything was prefilled. */
  async logits(): Promise<Float32Array> {
    this.needLogits();
    return new Float32Array(await this.read(this.step.logits, 4 * this.model.config.V));
  }

  /**
   * Samples tokens and gives them in batches, one batch a submit, two submits under way so that the GPU never waits for the
   * host. Ends after a stop id (which is given), after `maxTokens` or when the window is full. The last id given is not
   * cached yet: prefill it, or what comes after it, to go on.
   * @throws OchreError INVALID_ARGUMENT before anything was prefilled, GPU_LOST; the signal's reason on abort.
   */
  async *decode({ maxTokens, signal, ...params }: DecodeOptions): AsyncGenerator<number[]> {
    this.needLogits();
    this.hasLogits = false;
    this.model.gpu.device.queue.writeBuffer(this.step.sampling, 0, packSampling(params));
    const sample = isFiltered(params) ? [this.thresholdProgram, this.sampleProgram] : [this.sampleProgram];
    const advance = [this.decodeProgram, this.headProgram, ...sample];
    const most = Math.min(maxTokens, this.contextTokens - this.cached.length);
    const underWay: Promise<number[]>[] = [];
    let scheduled = 0;
    let steps = 1;
    let pending: number | undefined; // sampled, but not yet an input
    let arrivedAt = performance.now();
    try {
      for (let turn = 0; ; ) {
        for (; underWay.length < 2 && scheduled < most; turn++) {
          signal?.throwIfAborted();
          const count = turn === 0 ? 1 : Math.min(steps, most - scheduled);
          // The first token follows from logits that are there; each later one from a pass over the token before it.
          underWay.push(this.sampleBatch(turn === 0 ? sample : repeat(advance, count), count, turn));
          scheduled += count;
        }
        const batch = await underWay.shift();
        if (!batch) return;
        if (pending !== undefined) this.cached.push(pending);
        this.cached.push(...batch.slice(0, -1));
        pending = batch[batch.length - 1];
        const now = performance.now();
        if (turn > 2) steps = stepsForNext((now - arrivedAt) / batch.length);
        arrivedAt = now;
        yield batch;
        if (params.stopIds.includes(pending)) return;
      }
    } finally {
      // Their staging buffers must be free again; what they sampled is beyond the end, or nobody wants it.
      await Promise.allSettled(underWay);
    }
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    releaseStep(this.model.gpu, this.step);
  }

  /** Replays `programs`, which sample `steps` tokens, and reads those sampled before a stop. */
  private sampleBatch(programs: readonly Program[], steps: number, turn: number): Promise<number[]> {
    const { gpu } = this.model;
    const { state, results, readback } = this.step;
    const staging = readback[turn % readback.length];
    gpu.device.queue.writeBuffer(state, SAMPLED_AT, turn === 0 ? RESET_SAMPLED_AND_DONE : RESET_SAMPLED);
    gpu.device.queue.writeBuffer(results, 0, NO_RESULTS);
    const startedAt = performance.now();
    this.submit(programs, (encoder) => encoder.copyBufferToBuffer(results, 0, staging, 0, 4 * steps));
    // The first turn samples from logits that are there, without a pass over the model.
    if (turn > 0) {
      this.encoded.ms += performance.now() - startedAt;
      this.encoded.tokens += steps;
    }
    // Mapped in the task of the submit: its resolution is the news that the submit is done.
    const ids = staging.mapAsync(GPUMapMode.READ, 0, 4 * steps).then(
      () => {
        const sampled = [...new Uint32Array(staging.getMappedRange(0, 4 * steps))];
        staging.unmap();
        gpu.check();
        const end = sampled.indexOf(NO_RESULT);
        return end < 0 ? sampled : sampled.slice(0, end);
      },
      (cause) => {
        gpu.check();
        throw new OchreError("INTERNAL", "[engine] sampled tokens could not be read back.", { cause });
      },
    );
    ids.catch(() => {}); // whoever awaits it meets the error; a batch that nobody awaits any more must not
    return ids;
  }

  /** Prefills ids chunk by chunk, yielding after each was submitted: whether it was the last. */
  private async *chunks(ids: readonly number[], signal?: AbortSignal): AsyncGenerator<boolean> {
    this.checkIds(ids);
    const { gpu } = this.model;
    const size = chunkTokens(gpu);
    for (let from = 0; from < ids.length; from += size) {
      signal?.throwIfAborted();
      const chunk = ids.slice(from, from + size);
      const program =
        chunk.length === 1 ? this.decodeProgram : await this.prefillProgram(TILE_TOKENS * Math.ceil(chunk.length / TILE_TOKENS));
      const state = new Uint32Array(STATE_BYTES / 4);
      state.set([this.cached.length, chunk.length, chunk.length - 1]);
      gpu.device.queue.writeBuffer(this.step.state, 0, state);
      gpu.device.queue.writeBuffer(this.step.ids, 0, Uint32Array.from(chunk));
      this.hasLogits = false;
      this.submit([program]);
      const last = from + size >= ids.length;
      if (!last) await gpu.device.queue.onSubmittedWorkDone();
      gpu.check();
      this.cached.push(...chunk);
      yield last;
    }
  }

  /** The first `bytes` of a buffer, through a staging buffer of its own: not for the decode loop. */
  private async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const { gpu } = this.model;
    const staging = gpu.buffer(`copy of ${buffer.label}`, buffer.size, GPUBufferUsage.MAP_READ);
    try {
      this.submit([], (encoder) => encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size));
      await staging.mapAsync(GPUMapMode.READ);
      return staging.getMappedRange().slice(0, bytes);
    } finally {
      gpu.release(staging);
    }
  }

  private async prefillProgram(tokens: number): Promise<Program> {
    let program = this.prefillPrograms.get(tokens);
    if (!program) {
      const { gpu, config, weights } = this.model;
      program = await Program.record(gpu, (recorder) => forward(recorder, config, weights, this.step, tokens));
      this.prefillPrograms.set(tokens, program);
    }
    return program;
  }

  private submit(programs: readonly Program[], after?: (encoder: GPUCommandEncoder) => void): void {
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

  private checkIds(ids: readonly number[]): void {
    if (this.disposed) throw new OchreError("DISPOSED", "[engine] a sequence cannot be used after dispose().");
    const wanted = this.cached.length + ids.length;
    if (wanted > this.contextTokens) {
      throw new OchreError("CONTEXT_FULL", `[engine] the window holds ${this.contextTokens} tokens but ${wanted} are wanted.`, {
        details: { requested: wanted, quota: this.contextTokens },
      });
    }
    const { V } = this.model.config;
    const stray = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < V));
    if (stray !== undefined) throw new OchreError("INVALID_ARGUMENT", `[engine] ids must be 0 to ${V - 1} but one is ${stray}.`);
  }

  private needLogits(): void {
    if (this.disposed) throw new OchreError("DISPOSED", "[engine] a sequence cannot be used after dispose().");
    if (!this.hasLogits)
      throw new OchreError("INVALID_ARGUMENT", "[engine] there is nothing to sample from: call prefill first.");
  }
}

/** Byte of `sampled` in the step state; `done` follows it. */
const SAMPLED_AT = 12;
const NO_RESULT = 0xffffffff;
const NO_RESULTS = new Uint32Array(MOST_STEPS).fill(NO_RESULT);
const RESET_SAMPLED = Uint32Array.of(0);
const RESET_SAMPLED_AND_DONE = Uint32Array.of(0, 0);

const stepsForNext = (msPerToken: number): number => Math.min(MOST_STEPS, Math.max(1, Math.floor(SUBMIT_MS / msPerToken)));

const repeat = (programs: readonly Program[], times: number): Program[] => Array.from({ length: times }, () => programs).flat();
