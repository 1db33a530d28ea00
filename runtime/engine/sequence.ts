/** One context on the GPU: a KV cache, the ids whose keys and values it holds, and the programs recorded over it. */
import { OchreError } from "../errors";
import type { AdapterUse } from "./adapter-basis";
import { type DecodeOptions, decodeTokens } from "./decode";
import { chunkTokens, type PrefillOptions, prefillChunks } from "./prefill";
import type { SequenceState } from "./sequence-state";
import { SpeculationGain } from "./speculation";
import { allocateAdapters, allocateStep, kvBytes, releaseStep } from "./step-buffers";
import { type SequenceModel, StepPrograms } from "./step-programs";

export class Sequence {
  readonly contextTokens: number;
  readonly kvBytes: number;
  private readonly model: SequenceModel;
  private readonly state: SequenceState;
  /** The logits on the GPU follow from the last cached id. */
  private hasLogits = false;
  private disposed = false;
  private uses: readonly Required<AdapterUse>[] = [];

  private constructor(model: SequenceModel, state: SequenceState) {
    this.model = model;
    this.state = state;
    this.contextTokens = state.contextTokens;
    this.kvBytes = kvBytes(state.step);
  }

  /** Allocates the cache and compiles every program. @throws OchreError GPU_MEMORY when there is no room. */
  static async create(model: SequenceModel, contextTokens: number): Promise<Sequence> {
    const { gpu, config, kv } = model;
    const step = await gpu.allocating(() => allocateStep(gpu, config, contextTokens, chunkTokens(gpu), kv));
    try {
      const programs = await StepPrograms.record(model, step);
      return new Sequence(model, {
        gpu,
        step,
        programs,
        cached: [],
        contextTokens,
        encoded: { ms: 0, tokens: 0 },
        speculated: { drafted: 0, accepted: 0 },
        gain: new SpeculationGain(),
      });
    } catch (error) {
      releaseStep(gpu, step);
      throw error;
    }
  }

  /** Adapters that count, in order; none at first. */
  get adapters(): readonly Required<AdapterUse>[] {
    return this.uses;
  }

  /**
   * From now on these adapters add to the linears, at most two: a table is written, nothing is compiled after the first time. Keys
   * and values that were computed otherwise are forgotten. Not while tokens are decoded.
   * @throws OchreError INVALID_ARGUMENT for an adapter that is not loaded, GPU_MEMORY.
   */
  async setAdapters(list: readonly AdapterUse[]): Promise<void> {
    this.needLife();
    const uses = list.map(({ name, weight = 1 }) => ({ name, weight }));
    const same = (use: Required<AdapterUse>, i: number) => use.name === uses[i].name && use.weight === uses[i].weight;
    if (uses.length === this.uses.length && this.uses.every(same)) return;
    const { model, state } = this;
    const { adapters, gpu, config } = model;
    if (!adapters) throw new OchreError("INVALID_ARGUMENT", "[engine] this sequence takes no adapters.");
    const table = adapters.table(uses);
    adapters.retain(uses);
    try {
      if (!state.step.adapterTable) await allocateAdapters(gpu, config, state.step, chunkTokens(gpu));
      await state.programs.adapt(uses.length > 0);
    } catch (error) {
      adapters.release(uses);
      throw error;
    }
    gpu.write(state.step.adapterTable!, 0, table);
    adapters.release(this.uses);
    this.uses = uses;
    this.truncate(0);
  }

  /** Ids whose keys and values are cached. */
  get ids(): readonly number[] {
    return this.state.cached;
  }

  /** What encoding and submitting has cost the CPU so far, and for how many tokens' passes. */
  get encoded(): Readonly<{ ms: number; tokens: number }> {
    return this.state.encoded;
  }

  /** Tokens guessed and checked so far, and how many of them came for nothing because the guess was right. */
  get speculated(): Readonly<{ drafted: number; accepted: number }> {
    return this.state.speculated;
  }

  /** Dispatches of one decoded token at temperature 0. */
  get dispatchesPerToken(): number {
    const { decode, sampler } = this.state.programs;
    return decode.dispatchCount + sampler.head.dispatchCount + sampler.sample.dispatchCount;
  }

  /** Of those, each layer's: the pass over the layers begins with one look-up of the embedding. */
  get dispatchesPerLayer(): number {
    return (this.state.programs.decode.dispatchCount - 1) / this.model.config.L;
  }

  /** Bytes that decoding the next token reads: weights, and keys and values so far. */
  bytesPerToken(): number {
    return this.model.weights.bytesPerToken + Math.round((this.kvBytes * this.ids.length) / this.contextTokens);
  }

  /** Forgets everything after the first `length` ids. */
  truncate(length: number): void {
    const { cached } = this.state;
    if (length >= cached.length) return;
    cached.length = length;
    this.hasLogits = false;
  }

  /**
   * Appends ids; afterwards the logits of the last are there to sample from. On abort or failure the chunks that were
   * computed stay cached.
   * @throws OchreError CONTEXT_FULL when they do not fit, INVALID_ARGUMENT for an id outside the vocabulary, GPU_LOST.
   */
  async prefill(ids: readonly number[], options: PrefillOptions = {}): Promise<void> {
    if (ids.length === 0) return;
    const { programs, gpu } = this.state;
    for await (const last of this.chunks(ids, options)) if (last) programs.submit([programs.sampler.head]);
    await gpu.device.queue.onSubmittedWorkDone();
    gpu.check();
    this.hasLogits = true;
  }

  /** Appends ids and hands out the logits [V] after each: for evaluation. Throws as prefill does. */
  async prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void> {
    const { gpu, programs, step, cached } = this.state;
    const { logits, state } = step;
    const rowBytes = 4 * this.model.config.V;
    const staging = gpu.buffer("logits of a step", rowBytes * chunkTokens(gpu), GPUBufferUsage.MAP_READ);
    try {
      let from = cached.length;
      for await (const _ of this.chunks(ids)) {
        const rows = cached.length - from;
        for (let row = 0; row < rows; row++) {
          gpu.device.queue.writeBuffer(state, 8, Uint32Array.of(row));
          programs.submit([programs.sampler.head], (encoder) =>
            encoder.copyBufferToBuffer(logits, 0, staging, row * rowBytes, rowBytes),
          );
        }
        await staging.mapAsync(GPUMapMode.READ);
        const mapped = staging.getMappedRange();
        for (let row = 0; row < rows; row++)
          onLogits(from + row, new Float32Array(mapped.slice(row * rowBytes, (row + 1) * rowBytes)));
        staging.unmap();
        from = cached.length;
      }
      this.hasLogits = cached.length > 0;
    } finally {
      gpu.release(staging);
    }
  }

  /** One layer's cache of 8 bits as it stands: codes [G, contextTokens, d], scales [G, contextTokens, 2] of k and v. */
  async readCache(layer: number): Promise<{ k: Int8Array; v: Int8Array; scales: Float32Array }> {
    const { k, v, scales } = this.state.step.kv[layer];
    const { contextTokens } = this;
    const words = this.model.config.d / 4;
    const keys = new Uint32Array(await this.read(k, k.size)); // [G, words, contextTokens]
    const turned = keys.map((_, at) => {
      const row = Math.floor(at / words);
      return keys[(Math.floor(row / contextTokens) * words + (at % words)) * contextTokens + (row % contextTokens)];
    });
    return {
      k: new Int8Array(turned.buffer),
      v: new Int8Array(await this.read(v, v.size)),
      scales: new Float32Array(await this.read(scales, scales.size)),
    };
  }

  /** Logits [V] of the last cached id. @throws OchreError INVALID_ARGUMENT before anything was prefilled. */
  async logits(): Promise<Float32Array> {
    this.needLogits();
    return new Float32Array(await this.read(this.state.step.logits, 4 * this.model.config.V));
  }

  /**
   * Samples tokens and gives them in batches, one batch a submit, two submits under way so that the GPU never waits for the
   * host; where guesses are checked (DecodeOptions.speculate) one at a time. Which it is does not change the tokens. Ends after a stop id (which is given), after `maxTokens` or when the window is full. The last id given is not
   * cached yet: prefill it, or what comes after it, to go on.
   * @throws OchreError INVALID_ARGUMENT before anything was prefilled, GPU_LOST; the signal's reason on abort.
   */
  async *decode(options: DecodeOptions): AsyncGenerator<number[]> {
    this.needLogits();
    this.hasLogits = false;
    yield* decodeTokens(this.state, options);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.model.adapters?.release(this.uses);
    releaseStep(this.model.gpu, this.state.step);
  }

  private chunks(ids: readonly number[], options: PrefillOptions = {}): AsyncGenerator<boolean> {
    this.checkIds(ids);
    this.hasLogits = false;
    return prefillChunks(this.state, ids, options);
  }

  /** The first `bytes` of a buffer, through a staging buffer of its own: not for the decode loop. */
  private async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const { gpu, programs } = this.state;
    const staging = gpu.buffer(`copy of ${buffer.label}`, buffer.size, GPUBufferUsage.MAP_READ);
    try {
      programs.submit([], (encoder) => encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size));
      await staging.mapAsync(GPUMapMode.READ);
      return staging.getMappedRange().slice(0, bytes);
    } finally {
      gpu.release(staging);
    }
  }

  private checkIds(ids: readonly number[]): void {
    this.needLife();
    const wanted = this.ids.length + ids.length;
    if (wanted > this.contextTokens) {
      throw new OchreError("CONTEXT_FULL", `[engine] the window holds ${this.contextTokens} tokens but ${wanted} are wanted.`, {
        details: { requested: wanted, quota: this.contextTokens },
      });
    }
    const { V } = this.model.config;
    const stray = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < V));
    if (stray !== undefined) throw new OchreError("INVALID_ARGUMENT", `[engine] ids must be 0 to ${V - 1} but one is ${stray}.`);
  }

  private needLife(): void {
    if (this.disposed) throw new OchreError("DISPOSED", "[engine] a sequence cannot be used after dispose().");
  }

  private needLogits(): void {
    this.needLife();
    if (!this.hasLogits)
      throw new OchreError("INVALID_ARGUMENT", "[engine] there is nothing to sample from: call prefill first.");
  }
}
