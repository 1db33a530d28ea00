/**
 * Widths at run time: a block's last planes are left away, or come back, while sequences go on. Down costs no reading, up reads
 * the planes from where the model came from. What is recorded follows by itself (`Gpu.replace`); KV caches stay as they are.
 */
import { changeWidths } from "../../kernels/change-widths";
import { expandInt8 } from "../../kernels/expand-int8";
import type { Int8Weights } from "../../kernels/int8-weights";
import { BLOCK_WORDS, type PaletteWeights } from "../../kernels/palette-weights";
import type { Checkpoint } from "../formats/checkpoint";
import { view } from "../formats/dequantize";
import { narrowPlane } from "../formats/narrow";
import { PALETTE_ROWS } from "../formats/palettized";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { ModelConfig } from "./config";
import { averageBitsAt } from "./fit-widths";
import { interleaveRows, packStack } from "./pack-blocks";
import { bytesPerToken } from "./stacks";
import type { LayerWeights, LinearPart, ModelWeights } from "./weights";
import { chooseBits, type WidthChoice } from "./width-choice";

/** What a change of widths took. */
export interface WidthChange {
  /** Linears whose blocks changed. */
  linears: number;
  /** CPU time of making buffers, encoding and submitting: while it lasts nothing else can run on this thread. */
  hostMs: number;
  /** Reading planes, at which other work goes on. */
  readMs: number;
  /** All weights on the GPU after it. */
  weightBytes: number;
}

/** A stack some of whose parts are to have other widths. */
interface Change {
  weights: PaletteWeights | Int8Weights;
  parts: LinearPart[];
  /** As `parts`: the widths to come. */
  bits: Uint8Array[];
}

/** Rows of a plane, as kernels read them, and their first word in the new buffer. */
interface Fill {
  plane: 1 | 2;
  at: number;
  words: Uint32Array;
}

export class Widths {
  private pending: Promise<unknown> = Promise.resolve();
  private compiled = false;

  constructor(
    private readonly gpu: Gpu,
    private readonly config: ModelConfig,
    private readonly weights: ModelWeights,
    private readonly checkpoint: Checkpoint,
  ) {}

  /** Linear to the average of its blocks' widths, palettes and scales not counted; empty where the weights are plain. */
  get bits(): Record<string, number> {
    return Object.fromEntries(
      this.linears.map(({ name, bits }) => [name, bits.reduce((sum, width) => sum + width, 0) / bits.length]),
    );
  }

  /** Bits per weight of the linears, palettes and scales counted; undefined where the weights are plain. */
  get averageBits(): number | undefined {
    return averageBitsAt(
      this.config,
      this.linears.map(({ name, stored, bits }) => ({ name, stored: stored.bits, bits })),
    );
  }

  /**
   * Gives every block of the linears named at most so many bits, or as many as are stored. Effective from the next step that is
   * encoded. Calls are done one after the other; one that fails leaves the stacks after it as they were.
   * @throws OchreError INVALID_ARGUMENT as chooseBits does, GPU_MEMORY where a wider code has no room, GPU_LOST, and what reading
   *   the checkpoint throws.
   */
  set(choice: WidthChoice): Promise<WidthChange> {
    const done = this.pending.then(() => this.change(choice));
    this.pending = done.catch(() => {});
    return done;
  }

  private async change(choice: WidthChoice): Promise<WidthChange> {
    const { gpu, weights } = this;
    gpu.check();
    const changes = this.changes(choice);
    const report: WidthChange = { linears: 0, hostMs: 0, readMs: 0, weightBytes: 0 };
    for (const change of changes) {
      if ("scales" in change.weights) await this.expandAgain(change, change.weights, report);
      else await this.convert(change, change.weights, report);
      change.parts.forEach((part, i) => {
        if (part.bits.some((width, block) => width !== change.bits[i][block])) report.linears++;
        part.bits = change.bits[i];
      });
    }
    weights.bytesPerToken = bytesPerToken(weights);
    report.weightBytes = weights.bytes;
    return report;
  }

  private get linears(): LinearPart[] {
    return (this.weights.parts ?? []).flatMap((layer) => Object.values(layer).flat());
  }

  /** The stacks that have something to do. */
  private changes(choice: WidthChoice): Change[] {
    const { layers, parts = [] } = this.weights;
    const bits = chooseBits(choice, this.linears);
    const changes: Change[] = [];
    for (const [layer, stacks] of parts.entries()) {
      for (const name of Object.keys(stacks) as (keyof LayerWeights)[]) {
        const ofStack = stacks[name].map((part) => bits.get(part.name) ?? part.bits);
        const changed = stacks[name].some((part, i) => part.bits.some((width, block) => width !== ofStack[i][block]));
        // Only palettized models have parts, and these are what they become.
        if (changed) changes.push({ weights: layers[layer][name] as Change["weights"], parts: stacks[name], bits: ofStack });
      }
    }
    return changes;
  }

  /** Codes on the GPU to codes of other widths: into buffers of the size that they need. */
  private async convert({ parts, bits }: Change, now: PaletteWeights, report: WidthChange): Promise<void> {
    const { gpu } = this;
    const { rows: allRows, cols, plane1, plane2, blocks } = now;
    const read = await this.readGained(parts, bits, report);
    const startedAt = performance.now();
    const small = blocksAt(parts, bits);
    const records = small.subarray(0, (allRows / PALETTE_ROWS) * BLOCK_WORDS);
    const fills = gainedRows(parts, bits, read, cols);
    const rows = (least: number) => bits.reduce((sum, widths) => sum + widths.filter((width) => width >= least).length, 0);
    const planeBytes = (least: number) => rows(least) * PALETTE_ROWS * (cols / 8);
    const made = gpu.allocating(() => ({
      next: gpu.upload(
        "next widths",
        records.filter((_, i) => i % BLOCK_WORDS < 4),
      ),
      next1: gpu.buffer(plane1.label, planeBytes(3)),
      next2: gpu.buffer(plane2.label, planeBytes(4)),
    }));
    report.hostMs += performance.now() - startedAt;
    const { next, next1, next2 } = await made;
    const record = () => Program.record(gpu, (recorder) => changeWidths(recorder, { weights: now, next, next1, next2 }));
    if (!this.compiled) await record();
    this.compiled = true;
    await timed(report, "hostMs", async () => {
      const program = await record();
      for (const { plane, at, words } of fills) gpu.write(plane === 1 ? next1 : next2, 4 * at, words);
      program.submit(gpu);
      gpu.write(blocks, 0, small);
      gpu.release(next);
      const before = plane1.size + plane2.size;
      gpu.replace(plane1, next1);
      gpu.replace(plane2, next2);
      const grown = next1.size + next2.size - before;
      Object.assign(now, { plane1: next1, plane2: next2, bytes: now.bytes + grown });
      this.weights.bytes += grown;
    });
  }

  /** By name, the planes that some blocks are to have and have not, as the checkpoint has them. */
  private async readGained(parts: LinearPart[], bits: Uint8Array[], report: WidthChange): Promise<Map<string, Uint32Array>> {
    const read = new Map<string, Uint32Array>();
    for (const [i, { name, bits: now }] of parts.entries()) {
      for (const plane of [1, 2]) {
        if (!bits[i].some((width, block) => width >= 2 + plane && now[block] < 2 + plane)) continue;
        const bytes = await timed(report, "readMs", () => this.checkpoint.readBytes(`${name}.plane${plane}`));
        read.set(`${name}.plane${plane}`, view(bytes, Uint32Array));
      }
    }
    return read;
  }

  /** Weights in int8 have lost their codes: expanded afresh, in place, from planes read again. */
  private async expandAgain({ parts, bits }: Change, now: Int8Weights, report: WidthChange): Promise<void> {
    const { gpu, checkpoint } = this;
    const { rows, cols, kept } = now;
    const planes: Record<0 | 1 | 2, Uint32Array[]> = { 0: [], 1: [], 2: [] };
    await timed(report, "readMs", async () => {
      for (const [i, { name, stored }] of parts.entries()) {
        for (const plane of [0, 1, 2] as const) {
          if (!checkpoint.tensors.has(`${name}.plane${plane}`)) continue;
          const words = view(await checkpoint.readBytes(`${name}.plane${plane}`), Uint32Array);
          const widths = { stored: stored.bits, bits: bits[i] };
          const needed = plane === 0 ? words : narrowPlane(plane, words, widths, cols / 32);
          planes[plane].push(interleaveRows(needed, cols, plane === 0 ? 2 : 1));
        }
      }
    });
    const startedAt = performance.now();
    const upload = (label: string, words: Uint32Array[]) => {
      const buffer = gpu.buffer(
        label,
        words.reduce((sum, { byteLength }) => sum + byteLength, 0),
      );
      let at = 0;
      for (const part of words) {
        gpu.write(buffer, at, part);
        at += part.byteLength;
      }
      return buffer;
    };
    const made = gpu.allocating(() => [
      upload("plane0", planes[0]),
      upload("plane1", planes[1]),
      upload("plane2", planes[2]),
      gpu.upload("blocks", blocksAt(parts, bits)),
    ]);
    report.hostMs += performance.now() - startedAt;
    const [plane0, plane1, plane2, blocks] = await made;
    const palettes = { rows, cols, plane0, plane1, plane2, blocks, kept, bytes: 0 };
    await timed(report, "hostMs", async () => {
      const program = await Program.record(gpu, (recorder) => expandInt8(recorder, { palettes, weights: now }));
      program.submit(gpu);
      for (const buffer of [plane0, plane1, plane2, blocks]) gpu.release(buffer);
    });
  }
}

/** Of planes that were read, the rows that blocks gain, and where they go in buffers that hold what `bits` need. */
function gainedRows(
  parts: readonly LinearPart[],
  bits: readonly Uint8Array[],
  read: ReadonlyMap<string, Uint32Array>,
  cols: number,
): Fill[] {
  const fills: Fill[] = [];
  const size = (PALETTE_ROWS * cols) / 32;
  for (const plane of [1, 2] as const) {
    let at = 0;
    for (const [i, { name, stored, bits: now }] of parts.entries()) {
      const words = read.get(`${name}.plane${plane}`);
      let from = 0; // among the blocks that the file has this plane of
      for (const [block, width] of stored.bits.entries()) {
        if (width < 2 + plane) continue;
        if (bits[i][block] >= 2 + plane) {
          if (words && now[block] < 2 + plane)
            fills.push({ plane, at, words: interleaveRows(words.subarray(from * size, (from + 1) * size), cols, 1) });
          at += size;
        }
        from++;
      }
    }
  }
  return fills;
}

/** The `blocks` buffer of a stack at other widths. */
const blocksAt = (parts: readonly LinearPart[], bits: readonly Uint8Array[]): Uint32Array =>
  packStack(parts.map(({ stored }, i) => ({ stored, bits: bits[i] })));

/** Adds to the report how long `work` took. */
async function timed<T>(report: WidthChange, part: "hostMs" | "readMs", work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work();
  } finally {
    report[part] += performance.now() - startedAt;
  }
}
