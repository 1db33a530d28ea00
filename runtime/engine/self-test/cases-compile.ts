/** What the compiler runs on a GPU: its results must be the CPU's to the last bit, so most operands are exact whatever a device fuses. */
import { assignFeedback } from "../../../kernels/assign-feedback";
import { moments } from "../../../kernels/moments";
import { HISTOGRAM_WORDS, paletteHistogram } from "../../../kernels/palette-histogram";
import { KMEANS_SCRATCH, paletteKmeans } from "../../../kernels/palette-kmeans";
import { assignFeedback as assignTwin } from "../../../kernels/reference/assign-feedback";
import { moments as momentsTwin } from "../../../kernels/reference/moments";
import { paletteHistogram as histogramTwin } from "../../../kernels/reference/palette-histogram";
import { paletteKmeans as kmeansTwin } from "../../../kernels/reference/palette-kmeans";
import { EMPHASIS } from "../../palettize/kmeans";
import { normals, padRows, READABLE, random } from "./data";
import { exactGate, f32Gate, type KernelCase } from "./kernel-case";

/** Rows of two tiles, a last slab of one token, and columns that end within a tile. */
const momentsCase: KernelCase = {
  kernel: "moments",
  name: "17 tokens, 100 columns, added to",
  gate: f32Gate,
  prepare(on) {
    const [T, cols, stride] = [17, 100, 128];
    const x = padRows(normals(T * cols, 1), T, cols, stride);
    const before = momentsTwin({ x: padRows(normals(cols, 2), 1, cols, stride), cols: stride });
    const m = on.upload("m", before, READABLE);
    const operands = { x: on.upload("x", x), tokens: T, stride, m, firstRow: 0, rows: stride };
    const lower = (values: Float32Array) => values.filter((_, at) => at % stride <= Math.floor(at / stride));
    return {
      record: (recorder) => moments(recorder, operands),
      outputs: [
        { buffer: m, of: (bytes) => lower(new Float32Array(bytes)), expected: lower(momentsTwin({ x, cols: stride, before })) },
      ],
    };
  },
};

/** Blocks side by side, the values of one of them far out. */
function blockValues(blocks: number, cols: number): Float32Array {
  const x = normals(blocks * cols * 16, 3);
  x.set([0, -0, 1, -1, 2.75, 3, -1023.5, 2046.9, 1e9, -1e9, 2 ** -19, -(2 ** -18)]);
  return x;
}

const histogram: KernelCase = {
  kernel: "palette-histogram",
  name: "2 blocks, the last of 5 rows, outliers",
  gate: exactGate,
  prepare(on) {
    const [blocks, cols] = [2, 270];
    const x = blockValues(blocks, cols);
    const widths = Uint32Array.of(4, 3);
    const rowWeights = Float32Array.from({ length: 32 }, (_, r) => (r < 21 ? 100 + 33.3 * r : 0));
    const importance = normals(cols, 4).map((value) => 1 + Math.abs(value));
    const buffer = on.buffer("histogram", blocks * 4 * HISTOGRAM_WORDS, READABLE);
    const operands = {
      x: on.upload("x", x),
      blocks,
      cols,
      widths: on.upload("widths", widths),
      rowWeights: on.upload("row weights", rowWeights),
      importance: on.upload("importance", importance),
      emphasis: on.upload("emphasis", EMPHASIS),
      histogram: buffer,
    };
    const expected = histogramTwin({ x, cols, widths, rowWeights, importance, emphasis: EMPHASIS });
    return {
      record: (recorder) => paletteHistogram(recorder, operands),
      outputs: [{ buffer, of: (bytes) => new Uint32Array(bytes), expected }],
    };
  },
};

/** Blocks of each width, of one value, and of nothing. */
const kmeans: KernelCase = {
  kernel: "palette-kmeans",
  name: "4, 3 and 2 bits, one value, nothing",
  gate: exactGate,
  prepare(on) {
    const [blocks, cols] = [5, 40];
    const x = blockValues(blocks, cols);
    x.fill(-0.75, 3 * cols * 16);
    const rowWeights = new Float32Array(16 * blocks).fill(2 ** 17);
    rowWeights.fill(0, 64);
    const importance = new Float32Array(cols).fill(1);
    const widths = [4, 3, 2, 4, 3];
    const filled = histogramTwin({ x, cols, widths, rowWeights, importance, emphasis: EMPHASIS });
    const palettes = on.buffer("palettes", blocks * 64, READABLE);
    const operands = {
      histogram: on.upload("histogram", filled),
      blocks,
      widths: on.upload("widths", Uint32Array.from(widths)),
      sums: on.buffer("sums", blocks * KMEANS_SCRATCH.sums),
      gains: on.buffer("gains", blocks * KMEANS_SCRATCH.gains),
      cuts: on.buffer("cuts", blocks * KMEANS_SCRATCH.cuts),
      palettes,
    };
    const expected = new Float32Array(blocks * 16);
    widths.forEach((width, block) => {
      expected.set(kmeansTwin(filled.subarray(block * HISTOGRAM_WORDS, (block + 1) * HISTOGRAM_WORDS), width), block * 16);
    });
    return {
      record: (recorder) => paletteKmeans(recorder, operands),
      outputs: [{ buffer: palettes, expected }],
    };
  },
};

/** Sums that are exact in f32: values in 64ths, feedback of a whole error or none. */
const assign: KernelCase = {
  kernel: "assign-feedback",
  name: "2 blocks, 70 columns of which 66 are coded",
  gate: exactGate,
  prepare(on) {
    const [blocks, cols, coded] = [2, 70, 66];
    const uniform = random(5);
    const x = Float32Array.from({ length: blocks * cols * 16 }, () => Math.floor(uniform() * 256 - 128) / 64);
    const widths = Uint32Array.of(4, 2);
    const palettes = Float32Array.from({ length: 32 }, (_, k) => (k < 16 ? (k - 7.5) / 4 : k < 20 ? k - 17.5 : 0));
    const factor = Float32Array.from({ length: cols * cols }, (_, at) => {
      const [j, k] = [Math.floor(at / cols), at % cols];
      if (j >= k) return j === k ? 1 : 99;
      return uniform() < 0.9 ? 0 : Math.sign(uniform() - 0.5);
    });
    const buffers = {
      x: on.upload("x", x, READABLE),
      codes: on.buffer("codes", blocks * Math.ceil(cols / 32) * 256, READABLE),
      errors: on.buffer("errors", blocks * 64, READABLE),
    };
    const operands = {
      ...buffers,
      blocks,
      cols,
      coded,
      palettes: on.upload("palettes", palettes),
      widths: on.upload("widths", widths),
      factor: on.upload("factor", factor),
      first: 0,
      count: cols,
      inverse: on.upload("inverse", new Float32Array(cols).fill(1)),
    };
    const passed = new Float32Array(x.length);
    const codes = new Uint32Array(buffers.codes.size / 4);
    const errors = new Float32Array(blocks * 16);
    for (let r = 0; r < blocks * 16; r++) {
      const block = r >> 4;
      const at = (c: number) => (block * cols + c) * 16 + (r & 15);
      const palette = palettes.subarray(block * 16, block * 16 + 2 ** widths[block]);
      const row = assignTwin({ x: Float32Array.from({ length: cols }, (_, c) => x[at(c)]), palette, factor, coded });
      errors[r] = row.error;
      for (let c = 0; c < cols; c++) passed[at(c)] = row.passed[c];
      for (let c = 0; c < coded; c++) {
        const word = ((block * Math.ceil(cols / 32) + (c >> 5)) * 16 + (r & 15)) * 4 + ((c & 31) >> 3);
        codes[word] |= row.codes[c] << (4 * (c & 7));
      }
    }
    return {
      record: (recorder) => assignFeedback(recorder, operands),
      outputs: [
        { buffer: buffers.codes, of: (bytes) => new Uint32Array(bytes), expected: codes },
        { buffer: buffers.x, expected: passed },
        { buffer: buffers.errors, expected: errors },
      ],
    };
  },
};

export const COMPILE_CASES: readonly KernelCase[] = [momentsCase, histogram, kmeans, assign];
