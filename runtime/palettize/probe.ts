/**
 * What a model's linears read: windows of tokens run through it layer by layer, and the second moments of each linear's inputs
 * are measured, in the rotated basis. The tokens are those of a text, or without one random: those excite the few directions in
 * which a small model's activations are huge (and every window's first token, on which attention rests), which is most of what
 * error feedback has to know.
 */
import { momentPanels } from "../compute/multiply";
import { inlinePool, runsOf } from "../compute/pool";
import type { ModelConfig } from "../engine/config";
import type { LinearName } from "../formats/palettized";
import type { InputMetric } from "./feedback";
import type { FoldRotations } from "./fold";
import { type CompilerPool, tasks } from "./tasks";
import { embedTokens, type InputName, inputWidths, type LayerWeights, type LinearWeights } from "./token-stream";

/** Tokens that run through the model. */
export interface ProbeTokens {
  ids: readonly number[];
  /** Tokens that see each other. */
  windowTokens: number;
}

/** What the folded linears of a layer read, by the input that they share. Each is there as soon as it is computed. */
export type LayerInputs = Record<InputName, Promise<InputMetric>>;

const INPUTS: readonly InputName[] = ["attention", "o_proj", "mlp", "down_proj"];

/** Uniform over the vocabulary, in windows of 128; the same on every machine. */
export function randomTokens(count: number, V: number, seed: number): ProbeTokens {
  let state = seed;
  const ids = Array.from({ length: count }, () => {
    // A full-period congruential generator (Numerical Recipes).
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * V);
  });
  return { ids, windowTokens: 128 };
}

export function inputName(linear: LinearName): InputName {
  switch (linear) {
    case "self_attn.q_proj":
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return "attention";
    case "self_attn.o_proj":
      return "o_proj";
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return "mlp";
    case "mlp.down_proj":
      return "down_proj";
  }
}

/** About as many tokens run through a layer before their moments are added: so many inputs are held. */
const CHUNK_TOKENS = 2048;
/** Panels whose moments are one task. */
const TASK_PANELS = 24;

export class Probe {
  /** Residual stream of all tokens, [tokens, D]: in its own basis, or wherever the linears that run have it. */
  readonly x: Float32Array;
  private readonly windowTokens: number;
  /** [tokens of a chunk, cols] each. */
  private readonly read: Record<InputName, Float32Array>;

  /**
   * @param rotations What the linears' inputs are turned by before they are measured.
   * @param embedding [V, D]; the rows of the tokens are copied.
   */
  constructor(
    private readonly config: ModelConfig,
    private readonly rotations: FoldRotations,
    embedding: Float32Array,
    { ids, windowTokens }: ProbeTokens,
    private readonly pool: CompilerPool = inlinePool(tasks),
  ) {
    this.x = pool.share(embedTokens(embedding, config.D, ids));
    this.windowTokens = Math.min(windowTokens, ids.length);
    const chunk = Math.min(ids.length, this.chunkTokens);
    const widths = inputWidths(config);
    this.read = mapInputs((name) => pool.floats(chunk * widths[name]));
  }

  get tokens(): number {
    return this.x.length / this.config.D;
  }

  /** Runs the next layer. */
  async advance(weights: LayerWeights): Promise<void> {
    await this.forward(this.shared(weights), 0, this.tokens);
  }

  /** Runs the next layer and gives the second moments of what its folded linears read, [cols, cols] each. */
  async measure(weights: LayerWeights): Promise<Record<InputName, Float32Array>> {
    const { pool, config, tokens } = this;
    const widths = inputWidths(config);
    const moments = mapInputs((name) => pool.floats(widths[name] ** 2));
    const shared = this.shared(weights);
    for (let first = 0; first < tokens; first += this.chunkTokens) {
      const count = Math.min(this.chunkTokens, tokens - first);
      await this.forward(shared, first, count, this.read);
      await Promise.all(
        INPUTS.flatMap((name) => {
          const panels = momentPanels(widths[name]);
          const x = this.read[name].subarray(0, count * widths[name]);
          return runsOf(panels, pool.wholeTasks ? 1 : Math.ceil(panels / TASK_PANELS))
            .reverse()
            .map((panels) => pool.run("moments", { moments: moments[name], x, tokens: count, panels }));
        }),
      );
    }
    return moments;
  }

  /**
   * Runs the next layer and says what its folded linears read.
   * @param kept Columns of each input to keep, see `inputMetric`.
   */
  async run(weights: LayerWeights, kept: Partial<Record<InputName, number>> = {}): Promise<LayerInputs> {
    const { pool } = this;
    const widths = inputWidths(this.config);
    const moments = await this.measure(weights);
    const metrics = {} as LayerInputs;
    // The largest first: the others and the coding of their linears fit beside it.
    for (const name of [...INPUTS].sort((a, b) => widths[b] - widths[a])) {
      const cols = widths[name];
      const factor = pool.floats(cols * cols);
      metrics[name] = pool.run("metric", { moments: moments[name], cols, kept: kept[name] ?? 0, factor });
      // Whoever waits for it hears of a failure; after another failure perhaps nobody does.
      metrics[name].catch(() => {});
    }
    return metrics;
  }

  /** Whole windows. */
  private get chunkTokens(): number {
    return Math.max(1, Math.floor(CHUNK_TOKENS / this.windowTokens)) * this.windowTokens;
  }

  private shared({ linears, norms }: LayerWeights): LayerWeights {
    return { linears: mapValues(linears, (values) => this.pool.share(values)), norms };
  }

  /** The tokens first ..< first + count, whole windows. `read` is filled with what the folded linears read of them. */
  private async forward(
    weights: LayerWeights,
    first: number,
    count: number,
    read?: Record<InputName, Float32Array>,
  ): Promise<void> {
    const { pool, config, windowTokens, rotations } = this;
    const { D } = config;
    const widths = inputWidths(config);
    const turned = { attention: rotations.residual, o_proj: rotations.head, mlp: rotations.residual, down_proj: null };
    const windows = runsOf(Math.ceil(count / windowTokens), pool.threads);
    await Promise.all(
      windows.map((run) => {
        const [from, to] = run.map((window) => Math.min(count, window * windowTokens));
        const inputs =
          read &&
          mapInputs((name) => ({
            values: read[name].subarray(from * widths[name], to * widths[name]),
            rotation: turned[name],
          }));
        const x = this.x.subarray((first + from) * D, (first + to) * D);
        return pool.run("layer", { config, weights, x, windowTokens, inputs });
      }),
    );
  }
}

const mapInputs = <T>(make: (name: InputName) => T) =>
  Object.fromEntries(INPUTS.map((name) => [name, make(name)])) as Record<InputName, T>;

const mapValues = (linears: LinearWeights, map: (values: Float32Array) => Float32Array) =>
  Object.fromEntries(Object.entries(linears).map(([name, values]) => [name, map(values)])) as LinearWeights;
