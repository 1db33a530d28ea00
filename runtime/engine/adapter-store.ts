/**
 * The adapters of a model on the GPU: all in one buffer, the arena, so that which of them count is said by a small table and
 * swapping binds nothing anew. The arena is as large as what is loaded: to load or unload is to make another and copy.
 */
import { MOST_ADAPTERS, TERM_WORDS } from "../../kernels/adapter-terms";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import { LINEARS, type LinearName, linearTensor } from "../formats/palettized";
import type { AdapterWeights } from "../formats/peft";
import type { NormWeights } from "../formats/rotate-adapter";
import type { Gpu } from "../gpu/device";
import { type AdapterInfo, type AdapterUse, readNorms, toModelBasis } from "./adapter-basis";
import type { ModelConfig } from "./config";
import { packTerm } from "./pack-adapter";

interface Term {
  /** Word of A, and of B behind it, counted from the adapter's first. */
  a: number;
  b: number;
  /** Padded. */
  rank: number;
}

interface Resident extends AdapterInfo {
  scale: number;
  /** First word in the arena; stays as long as the adapter does. */
  at: number;
  words: number;
  /** By `linearTensor`. */
  terms: Map<string, Term>;
  /** Sequences that use it. */
  users: number;
}

/** Term of a linear, the first of its MOST_ADAPTERS. */
export const firstTerm = (layer: number, linear: LinearName): number =>
  (layer * LINEARS.length + LINEARS.indexOf(linear)) * MOST_ADAPTERS;

export const tableBytes = ({ L }: ModelConfig): number => 4 * TERM_WORDS * MOST_ADAPTERS * L * LINEARS.length;

const VEC4_WORDS = 4;

export class AdapterStore {
  private readonly residents = new Map<string, Resident>();
  private norms: Promise<NormWeights> | undefined;
  /** Who changes the arena waits for who changed it before. */
  private changing: Promise<unknown> = Promise.resolve();
  private buffer: GPUBuffer;

  constructor(
    private readonly gpu: Gpu,
    private readonly config: ModelConfig,
    private readonly checkpoint: Checkpoint,
  ) {
    this.buffer = this.makeArena(0);
  }

  /** To be bound; programs follow when another takes its place. */
  get arena(): GPUBuffer {
    return this.buffer;
  }

  get list(): AdapterInfo[] {
    return Array.from(this.residents.values(), ({ name, rank, bytes }) => ({ name, rank, bytes }));
  }

  /**
   * @throws OchreError INVALID_ARGUMENT for a name that is taken, MODEL_UNSUPPORTED for a rank beyond the kernels' reach,
   *   MODEL_FORMAT for values beyond f16's or a model without norm weights, GPU_MEMORY.
   */
  add(adapter: AdapterWeights): Promise<AdapterInfo> {
    return this.inTurn(() => this.load(adapter));
  }

  /** Gives the room back. @throws OchreError INVALID_ARGUMENT while a sequence uses it, or when it is not loaded. */
  remove(name: string): Promise<void> {
    return this.inTurn(async () => {
      const { users } = this.resident(name);
      if (users > 0) throw new OchreError("INVALID_ARGUMENT", `[adapter] "${name}" cannot be unloaded while ${users} use it.`);
      this.residents.delete(name);
      await this.resize(this.end);
    });
  }

  private inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.changing.then(change);
    this.changing = turn.catch(() => {}); // who asked meets the error; who comes next begins anew
    return turn;
  }

  private async load(adapter: AdapterWeights): Promise<AdapterInfo> {
    const { name, rank, scale } = adapter;
    const { config, gpu } = this;
    this.norms ??= readNorms(config, this.checkpoint);
    const rotated = toModelBasis(adapter, config, await this.norms);
    if (this.residents.has(name)) throw new OchreError("INVALID_ARGUMENT", `[adapter] "${name}" is loaded already.`);
    const terms: Resident["terms"] = new Map();
    const pieces: Uint32Array[] = [];
    let words = 0;
    for (const [linear, low] of rotated.linears) {
      const packed = packTerm(linear, low);
      terms.set(linear, { a: words, b: words + packed.aWords, rank: packed.rank });
      pieces.push(packed.words);
      words += packed.words.length;
    }
    const at = this.place(words);
    await this.resize(Math.max(this.end, at + words));
    let offset = 4 * at;
    for (const piece of pieces) {
      gpu.write(this.buffer, offset, piece);
      offset += piece.byteLength;
    }
    const resident: Resident = { name, rank, scale, bytes: 4 * words, at, words, terms, users: 0 };
    this.residents.set(name, resident);
    return { name, rank, bytes: resident.bytes };
  }

  /** The table by which kernels add these up (wgsl/lib/adapter-terms.wgsl). @throws OchreError INVALID_ARGUMENT. */
  table(uses: readonly AdapterUse[]): Uint32Array {
    if (uses.length > MOST_ADAPTERS) {
      throw new OchreError(
        "INVALID_ARGUMENT",
        `[adapter] at most ${MOST_ADAPTERS} adapters add up but ${uses.length} are given.`,
      );
    }
    const table = new Uint32Array(tableBytes(this.config) / 4);
    const scales = new Float32Array(table.buffer);
    for (const [slot, { name, weight = 1 }] of uses.entries()) {
      const { at, scale, terms } = this.resident(name);
      for (let layer = 0; layer < this.config.L; layer++)
        for (const linear of LINEARS) {
          const term = terms.get(linearTensor(layer, linear));
          if (!term) continue;
          const word = (firstTerm(layer, linear) + slot) * TERM_WORDS;
          table.set([(at + term.a) / VEC4_WORDS, (at + term.b) / VEC4_WORDS, term.rank], word);
          scales[word + 3] = scale * weight;
        }
    }
    return table;
  }

  /** Keeps adapters from being unloaded, until they are released as often. */
  retain(uses: readonly AdapterUse[]): void {
    for (const { name } of uses) this.resident(name).users++;
  }

  release(uses: readonly AdapterUse[]): void {
    for (const { name } of uses) this.resident(name).users--;
  }

  private resident(name: string): Resident {
    const resident = this.residents.get(name);
    if (!resident) {
      const known = [...this.residents.keys()].join(", ") || "none";
      throw new OchreError("INVALID_ARGUMENT", `[adapter] "${name}" is not loaded; loaded: ${known}.`, { details: { name } });
    }
    return resident;
  }

  private get end(): number {
    return Math.max(0, ...Array.from(this.residents.values(), ({ at, words }) => at + words));
  }

  /** The first gap of so many words. */
  private place(words: number): number {
    const sorted = [...this.residents.values()].sort((a, b) => a.at - b.at);
    let at = 0;
    for (const resident of sorted) {
      if (resident.at - at >= words) return at;
      at = resident.at + resident.words;
    }
    return at;
  }

  /** An arena of so many words, with all that is loaded where it was. */
  private async resize(words: number): Promise<void> {
    const { gpu, buffer } = this;
    if (Math.max(16, 4 * words) === buffer.size) return;
    const next = await gpu.allocating(() => this.makeArena(words));
    const kept = Math.min(4 * this.end, next.size);
    if (kept > 0) {
      const encoder = gpu.device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, next, 0, kept);
      gpu.device.queue.submit([encoder.finish()]);
    }
    gpu.replace(buffer, next);
    this.buffer = next;
  }

  private makeArena(words: number): GPUBuffer {
    return this.gpu.buffer("adapters", 4 * words, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  }
}
