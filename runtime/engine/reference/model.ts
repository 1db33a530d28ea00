/**
 * The model on the CPU in plain f32: what the GPU engine is compared with, and what `--reference` runs. Reads plain and
 * palettized checkpoints alike; a palettized one runs in its rotated basis, as on the GPU.
 */
import { int8Row, int8RowValues } from "../../../kernels/reference/int8-row";
import { multiply as multiplySingle } from "../../compute/multiply";
import { OchreError } from "../../errors";
import type { Checkpoint } from "../../formats/checkpoint";
import { roundToF16 } from "../../formats/f16";
import { type LinearName, linearTensor } from "../../formats/palettized";
import type { AdapterWeights, LowRank } from "../../formats/peft";
import type { NormWeights } from "../../formats/rotate-adapter";
import { rotateVector } from "../../formats/rotation";
import { type AdapterUse, readNorms, toModelBasis } from "../adapter-basis";
import type { ModelConfig } from "../config";
import { ropeTable } from "../rope-table";
import { attendFast } from "./attend-fast";
import { applyRope, attend, type KvPrecision, LayerCache } from "./attention";
import { multiply } from "./linear";
import { type Sampling, sampleToken } from "./sampler";
import { type DenseWeights, type LoadWeightsOptions, loadDenseWeights } from "./weights";

/** Tokens that pass through the layers together: bounds the memory of a long prompt. */
const CHUNK_TOKENS = 128;
const DEFAULT_CONTEXT_TOKENS = 4096;

export interface ReferenceSequenceOptions {
  /** Size of the KV cache; default the smaller of the model's window and 4,096. */
  contextTokens?: number;
  /** Default "f32". */
  kv?: KvPrecision;
  /** A layer's cache, where it is to be another than `kv` says. */
  makeCache?: (layer: number, contextTokens: number) => LayerCache;
  /** Watches the last token of each forward pass: "embed", "layer0_out" ..., "final_norm", each [D]. */
  onStage?: (name: string, values: Float32Array) => void;
}

export interface DecodeOptions extends Sampling {
  maxTokens?: number;
  /** Ids after which to stop; the id itself is still given. */
  stopIds?: readonly number[];
}

export class ReferenceModel {
  readonly multiply: typeof multiply;
  readonly attend: typeof attend;
  /** By name, in the basis of the linears. */
  readonly adapters = new Map<string, AdapterWeights>();
  /** Of a palettized model, whose linears have them folded in. */
  private norms: NormWeights = new Map();

  constructor(
    readonly config: ModelConfig,
    readonly weights: DenseWeights,
    /** Linears read activations rounded to int8. */
    readonly int8Activations = false,
    /** Sums in f32 instead of f64, which is several times faster: what `eval --cpu` measures with. */
    fast = false,
  ) {
    this.multiply = fast ? multiplySingle : multiply;
    this.attend = fast ? attendFast : attend;
  }

  /** @throws OchreError MODEL_FORMAT when the checkpoint does not hold what the config says. */
  static async load(
    checkpoint: Checkpoint,
    config: ModelConfig,
    options: LoadWeightsOptions & { fast?: boolean } = {},
  ): Promise<ReferenceModel> {
    const int8Activations = config.quantization !== undefined && options.int8 === "activations too";
    const weights = await loadDenseWeights(checkpoint, config, options);
    const model = new ReferenceModel(config, weights, int8Activations, options.fast);
    if (config.quantization) model.norms = await readNorms(config, checkpoint);
    return model;
  }

  /**
   * For sequences to use by its name, in the basis in which this model runs.
   * @throws OchreError INVALID_ARGUMENT for a name that is taken, MODEL_FORMAT where the model was palettized without the norm
   *   weights that adapters need.
   */
  async loadAdapter(adapter: AdapterWeights): Promise<void> {
    if (this.adapters.has(adapter.name)) {
      throw new OchreError("INVALID_ARGUMENT", `[reference] the adapter "${adapter.name}" is loaded already.`);
    }
    const { config, norms } = this;
    this.adapters.set(adapter.name, config.quantization ? inHalves(toModelBasis(adapter, config, norms)) : adapter);
  }

  async unloadAdapter(name: string): Promise<void> {
    this.adapters.delete(name);
  }

  async createSequence(options: ReferenceSequenceOptions = {}): Promise<ReferenceSequence> {
    return new ReferenceSequence(this, options);
  }

  dispose(): void {}
}

/** One context: a KV cache and the ids whose keys and values it holds. */
export class ReferenceSequence {
  readonly contextTokens: number;
  /** What the cache holds, in order. */
  readonly ids: number[] = [];
  private readonly caches: LayerCache[];
  private readonly rope: { cos: Float32Array; sin: Float32Array };
  private uses: readonly AdapterUse[] = [];
  /** Residual stream of the last token, [D]; absent when nothing was computed since the last truncate. */
  private last?: Float32Array;

  constructor(
    private readonly model: ReferenceModel,
    private readonly options: ReferenceSequenceOptions,
  ) {
    const { config } = model;
    this.contextTokens = options.contextTokens ?? Math.min(config.contextTokens, DEFAULT_CONTEXT_TOKENS);
    this.rope = ropeTable(config.rope, config.d, this.contextTokens);
    const { makeCache = (_, tokens) => new LayerCache(config.G, config.d, tokens, options.kv ?? "f32") } = options;
    this.caches = Array.from({ length: config.L }, (_, layer) => makeCache(layer, this.contextTokens));
  }

  /**
   * Appends ids.
   * @throws OchreError CONTEXT_FULL when they do not fit, INVALID_ARGUMENT when an id is not in the vocabulary.
   */
  async prefill(ids: ArrayLike<number>): Promise<void> {
    this.check(ids);
    for (let from = 0; from < ids.length; from += CHUNK_TOKENS) this.forward(Array.from(ids).slice(from, from + CHUNK_TOKENS));
  }

  /** Appends ids and hands out the logits [V] after each of them; the array is the receiver's own. */
  async prefillLogits(ids: ArrayLike<number>, onLogits: (position: number, logits: Float32Array) => void): Promise<void> {
    this.check(ids);
    const { V } = this.model.config;
    for (let from = 0; from < ids.length; from += CHUNK_TOKENS) {
      const chunk = Array.from(ids).slice(from, from + CHUNK_TOKENS);
      const position = this.ids.length;
      const logits = this.head(this.forward(chunk), chunk.length);
      for (let t = 0; t < chunk.length; t++) onLogits(position + t, logits.slice(t * V, (t + 1) * V));
    }
  }

  /**
   * Logits [V] after the last id.
   * @throws OchreError INVALID_ARGUMENT when nothing was appended since the start or the last truncate.
   */
  async logits(): Promise<Float32Array> {
    if (!this.last) throw new OchreError("INVALID_ARGUMENT", "[reference] logits need a token before them: call prefill first.");
    return this.head(this.last, 1);
  }

  /**
   * Draws tokens one at a time until a stop id, `maxTokens` or the end of the context. The last one drawn is not in the
   * cache, as in the GPU's sequence.
   */
  async *decode({ maxTokens = Number.POSITIVE_INFINITY, stopIds = [], ...sampling }: DecodeOptions): AsyncGenerator<number[]> {
    const most = Math.min(maxTokens, this.contextTokens - this.ids.length);
    for (let n = 0, id = 0; n < most; n++) {
      if (n > 0) this.forward([id]);
      id = sampleToken(await this.logits(), sampling, this.ids.length);
      yield [id];
      if (stopIds.includes(id)) return;
    }
  }

  /** Forgets everything after the first n ids. */
  truncate(n: number): void {
    if (n < this.ids.length) this.last = undefined;
    this.ids.length = Math.min(n, this.ids.length);
  }

  /**
   * From now on these adapters add to the linears. What is cached is forgotten.
   * @throws OchreError INVALID_ARGUMENT for one that is not loaded.
   */
  async setAdapters(uses: readonly AdapterUse[]): Promise<void> {
    const unknown = uses.find(({ name }) => !this.model.adapters.has(name));
    if (unknown) throw new OchreError("INVALID_ARGUMENT", `[reference] the adapter "${unknown.name}" is not loaded.`);
    this.uses = [...uses];
    this.truncate(0);
  }

  dispose(): void {
    this.caches.length = 0;
  }

  private check(ids: ArrayLike<number>): void {
    const { V } = this.model.config;
    if (this.ids.length + ids.length > this.contextTokens) {
      throw new OchreError(
        "CONTEXT_FULL",
        `[reference] the context holds ${this.contextTokens} tokens but ${this.ids.length + ids.length} are wanted; shorten the prompt.`,
      );
    }
    for (let t = 0; t < ids.length; t++) {
      if (!(Number.isInteger(ids[t]) && ids[t] >= 0 && ids[t] < V)) {
        throw new OchreError("INVALID_ARGUMENT", `[reference] ids must be 0 to ${V - 1} but one is ${ids[t]}.`);
      }
    }
  }

  /** Appends T ids and returns the residual stream after the last layer, [T, D]. */
  private forward(ids: number[]): Float32Array {
    const { weights, config } = this.model;
    const T = ids.length;
    const position = this.ids.length;
    const x = this.embed(ids);
    this.stage("embed", x);
    for (let i = 0; i < weights.layers.length; i++) {
      addTo(x, this.attention(i, x, T, position));
      addTo(x, this.mlp(i, x, T));
      this.stage(`layer${i}_out`, x);
    }
    this.ids.push(...ids);
    this.last = x.slice(-config.D);
    return x;
  }

  private embed(ids: number[]): Float32Array {
    const { weights, config } = this.model;
    const x = new Float32Array(ids.length * config.D);
    for (const [t, id] of ids.entries()) {
      x.set(weights.embedding.subarray(id * config.D, (id + 1) * config.D), t * config.D);
      if (weights.rotation) rotateVector(weights.rotation, x, t * config.D);
    }
    return x;
  }

  private attention(layer: number, x: Float32Array, T: number, position: number) {
    const { config, weights, attend } = this.model;
    const cache = this.caches[layer];
    const h = rmsNorm(this.rounded(x, T), T, config.normEps, weights.layers[layer].inputNorm);
    const q = this.linear(layer, "self_attn.q_proj", h, T);
    const k = this.linear(layer, "self_attn.k_proj", h, T);
    const v = this.linear(layer, "self_attn.v_proj", h, T);
    applyRope(q, T, config.d, position, this.rope);
    applyRope(k, T, config.d, position, this.rope);
    cache.write(k, v, T, position);
    return this.linear(layer, "self_attn.o_proj", this.rounded(attend(q, cache, T, position), T), T);
  }

  private mlp(layer: number, x: Float32Array, T: number): Float32Array {
    const { config, weights } = this.model;
    const h = rmsNorm(this.rounded(x, T), T, config.normEps, weights.layers[layer].postAttentionNorm);
    const gate = this.linear(layer, "mlp.gate_proj", h, T);
    const up = this.linear(layer, "mlp.up_proj", h, T);
    for (let i = 0; i < gate.length; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
    return this.linear(layer, "mlp.down_proj", this.rounded(gate, T), T);
  }

  /** W x, and for each adapter in use scale * B (A x): [T, rows]. */
  private linear(layer: number, name: LinearName, x: Float32Array, T: number): Float32Array {
    const { weights, multiply, adapters } = this.model;
    const y = multiply(weights.layers[layer].linears[name], x, T);
    for (const { name: adapterName, weight = 1 } of this.uses) {
      const { scale, linears } = adapters.get(adapterName)!;
      const low = linears.get(linearTensor(layer, name));
      if (!low) continue;
      const added = multiply(low.b, multiply(low.a, x, T), T);
      for (let i = 0; i < y.length; i++) y[i] += scale * weight * added[i];
    }
    return y;
  }

  /** What linears read of T tokens' activations: in int8, where the model is, with a scale for every 16 columns. */
  private rounded(x: Float32Array, T: number): Float32Array {
    if (!this.model.int8Activations) return x;
    const cols = x.length / T;
    const y = new Float32Array(x.length);
    for (let at = 0; at < x.length; at += cols) y.set(int8RowValues(int8Row(x.subarray(at, at + cols))).subarray(0, cols), at);
    return y;
  }

  /** Final norm and head for x [T, D]: logits [T, V]. */
  private head(x: Float32Array, T: number): Float32Array {
    const { weights, config, multiply } = this.model;
    const h = x.slice();
    if (weights.rotation) for (let t = 0; t < T; t++) rotateVector(weights.rotation, h, t * config.D, 1, true);
    const normed = rmsNorm(h, T, config.normEps, weights.finalNorm);
    this.stage("final_norm", normed);
    return multiply(weights.head, normed, T);
  }

  private stage(name: string, x: Float32Array): void {
    this.options.onStage?.(name, x.slice(-this.model.config.D));
  }
}

/** x / rms(x) * weight for each of T tokens. */
function rmsNorm(x: Float32Array, T: number, eps: number, weight?: Float32Array): Float32Array {
  const D = x.length / T;
  const y = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += D) {
    let squares = 0;
    for (let c = 0; c < D; c++) squares += x[from + c] ** 2;
    const scale = 1 / Math.sqrt(squares / D + eps);
    for (let c = 0; c < D; c++) y[from + c] = x[from + c] * scale * (weight ? weight[c] : 1);
  }
  return y;
}

function addTo(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

/** As the GPU keeps it. */
function inHalves(adapter: AdapterWeights): AdapterWeights {
  const half = ({ rank, a, b }: LowRank): LowRank => ({ rank, a: a.map(roundToF16), b: b.map(roundToF16) });
  return { ...adapter, linears: new Map(Array.from(adapter.linears, ([name, low]) => [name, half(low)])) };
}
