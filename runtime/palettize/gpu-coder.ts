/**
 * Palettes and codes of a linear's blocks on the GPU: histograms, k-means and error feedback. Row scales, normalising, the
 * moments' inverse factor and the planes stay on the CPU: each is one pass over what has to be uploaded or read anyway, or too
 * sequential to gain. Palettes come out as the CPU's to the last bit; codes do wherever the driver rounds each product of the feedback before it subtracts it,
 * and elsewhere but for values that lie on the border between two entries.
 */
import { ASSIGN_PANEL, assignFeedback } from "../../kernels/assign-feedback";
import { HISTOGRAM_WORDS, paletteHistogram } from "../../kernels/palette-histogram";
import { KMEANS_SCRATCH, paletteKmeans } from "../../kernels/palette-kmeans";
import { PALETTE_ROWS } from "../formats/palettized";
import type { Gpu } from "../gpu/device";
import { type ChosenCodes, type CodedBlocks, finishBlock, type NormalizedBlock, normalizeBlock, uncodedBlocks } from "./blocks";
import { type InputMetric, keptCode } from "./feedback";
import { TaskBuffers } from "./gpu-buffers";
import { columnImportance, EMPHASIS, scaleRowWeights } from "./kmeans";

/** Bytes of a piece of an operand, where the device allows more. */
const PIECE_BYTES = 2 ** 26;

/**
 * `codeBlocks` with inputs, to the same codes. Blocks go in batches and the factor in pieces that fit the device's bindings.
 * @param weight [rows, cols]. It is overwritten.
 * @throws OchreError GPU_MEMORY, GPU_LOST.
 */
export async function codeBlocksOnGpu(
  gpu: Gpu,
  weight: Float32Array,
  bits: Uint8Array,
  cols: number,
  inputs: InputMetric,
  pieceBytes = PIECE_BYTES,
): Promise<CodedBlocks> {
  const coded = uncodedBlocks(bits, weight.length / cols, cols, inputs.kept);
  const most = Math.min(pieceBytes, gpu.device.limits.maxStorageBufferBindingSize);
  const batch = Math.max(1, Math.floor(most / Math.max(4 * PALETTE_ROWS * cols, KMEANS_SCRATCH.gains)));
  for (let first = 0; first < bits.length; first += batch) {
    const widths = bits.subarray(first, first + batch);
    const blocks = Array.from(widths, (_, i) => normalizeBlock(coded, first + i, weight, cols, inputs));
    const results = await chooseCodes(gpu, blocks, widths, cols, inputs, most);
    for (const [i, block] of blocks.entries()) {
      finishBlock(coded, first + i, block, chosenOf(results, i, block, widths[i], cols, inputs), inputs);
    }
  }
  return coded;
}

/** What comes back of a batch. */
interface Results {
  /** [blocks, 16] */
  palettes: Float32Array;
  /** [blocks, panels, 16, 4], 8 codes a word. */
  codes: Uint32Array;
  /** [blocks, 16] */
  errors: Float32Array;
  /** [blocks, cols, 16]: in kept columns, what they came to. */
  x?: Float32Array;
}

async function chooseCodes(
  gpu: Gpu,
  normalized: readonly NormalizedBlock[],
  bits: Uint8Array,
  cols: number,
  { kept, factor, columnWeights }: InputMetric,
  most: number,
): Promise<Results> {
  const blocks = normalized.length;
  const importance = columnImportance(columnWeights);
  return TaskBuffers.use(gpu, async (buffers) => {
    const x = buffers.upload("values", sideBySide(normalized, cols));
    const widths = buffers.upload("widths", Uint32Array.from(bits));
    const histogram = buffers.make("histogram", blocks * 4 * HISTOGRAM_WORDS);
    const scratch = {
      sums: buffers.make("sums", blocks * KMEANS_SCRATCH.sums),
      gains: buffers.make("gains", blocks * KMEANS_SCRATCH.gains),
      cuts: buffers.make("cuts", blocks * KMEANS_SCRATCH.cuts),
    };
    const palettes = buffers.make("palettes", blocks * 64);
    const weights = {
      rowWeights: buffers.upload("row weights", scaledWeights(normalized, cols, importance)),
      importance: buffers.upload("importance", importance),
      emphasis: buffers.upload("emphasis", EMPHASIS),
    };
    await buffers.run((recorder) => {
      paletteHistogram(recorder, { x, blocks, cols, widths, ...weights, histogram });
      paletteKmeans(recorder, { histogram, blocks, widths, ...scratch, palettes });
    });
    for (const buffer of [histogram, ...Object.values(scratch)]) buffers.release(buffer);

    const codes = buffers.make("codes", blocks * panelsOf(cols) * 256);
    const errors = buffers.make("errors", blocks * 64);
    const inverse = buffers.upload(
      "inverse",
      Float32Array.from({ length: cols }, (_, j) => 1 / factor[j * cols + j]),
    );
    const shared = { x, blocks, cols, coded: cols - kept, palettes, widths, inverse, codes, errors };
    const pieceColumns = Math.max(1, Math.floor(most / (4 * cols * ASSIGN_PANEL))) * ASSIGN_PANEL;
    for (let first = 0; first < cols; first += pieceColumns) {
      const count = Math.min(pieceColumns, cols - first);
      const piece = buffers.upload("factor", columnsOf(factor, cols, first, count));
      await buffers.run((recorder) => assignFeedback(recorder, { ...shared, factor: piece, first, count }));
      buffers.release(piece);
    }
    const [entries, words, sums, left] = await buffers.read(palettes, codes, errors, ...(kept > 0 ? [x] : []));
    return {
      palettes: new Float32Array(entries),
      codes: new Uint32Array(words),
      errors: new Float32Array(sums),
      x: left && new Float32Array(left),
    };
  });
}

const panelsOf = (cols: number): number => Math.ceil(cols / ASSIGN_PANEL);

/** One block of a batch's results. */
function chosenOf(
  { palettes, codes: words, errors, x }: Results,
  block: number,
  { squaredScales: { length: rows } }: NormalizedBlock,
  width: number,
  cols: number,
  { kept }: InputMetric,
): ChosenCodes {
  const palette = palettes.slice(block * 16, block * 16 + 2 ** width);
  const codes = new Uint8Array(rows * cols).fill(keptCode(palette.length));
  const keptValues = new Float32Array(rows * kept);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols - kept; c++) {
      const word = words[((block * panelsOf(cols) + (c >> 5)) * 16 + r) * 4 + ((c & 31) >> 3)];
      codes[r * cols + c] = (word >>> (4 * (c & 7))) & 15;
    }
    for (let j = 0; x && j < kept; j++) keptValues[r * kept + j] = x[(block * cols + cols - kept + j) * 16 + r];
  }
  return { palette, codes, keptValues, outputErrors: Float64Array.from(errors.subarray(block * 16, block * 16 + rows)) };
}

/** Blocks of [rows, cols] as [blocks, cols, 16]; rows that there are not are zeros. */
function sideBySide(blocks: readonly NormalizedBlock[], cols: number): Float32Array {
  const x = new Float32Array(blocks.length * cols * PALETTE_ROWS);
  for (const [block, { values }] of blocks.entries()) {
    for (let r = 0, i = 0; i < values.length; r++) {
      for (let c = 0; c < cols; c++, i++) x[(block * cols + c) * PALETTE_ROWS + r] = values[i];
    }
  }
  return x;
}

/** [blocks, 16] */
function scaledWeights(blocks: readonly NormalizedBlock[], cols: number, importance: Float32Array): Float32Array {
  const scaled = new Float32Array(blocks.length * PALETTE_ROWS);
  for (const [block, { values, squaredScales }] of blocks.entries()) {
    const rows = [0, squaredScales.length] as const;
    scaled.set(scaleRowWeights(values, rows, cols, squaredScales, importance), block * PALETTE_ROWS);
  }
  return scaled;
}

/** Columns first ..< first + count of the upper triangle, as far down as they reach. */
function columnsOf(factor: Float32Array, cols: number, first: number, count: number): Float32Array {
  if (count === cols) return factor;
  const piece = new Float32Array((first + count) * count);
  for (let j = 0; j < first + count; j++) piece.set(factor.subarray(j * cols + first, j * cols + first + count), j * count);
  return piece;
}
