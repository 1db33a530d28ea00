/** Linears: the decode and prefill kernels over palettes, and the head. */
import { changeWidths } from "../../../kernels/change-widths";
import { headInt8 } from "../../../kernels/head-int8";
import { matmulPalette } from "../../../kernels/matmul-palette";
import { matmulSwigluPalette } from "../../../kernels/matmul-swiglu-palette";
import { matvecPalette } from "../../../kernels/matvec-palette";
import { matvecSwigluPalette } from "../../../kernels/matvec-swiglu-palette";
import { packPairs } from "../../../kernels/pack-pairs";
import { BLOCK_WORDS } from "../../../kernels/palette-weights";
import { headInt8 as headTwin } from "../../../kernels/reference/head-int8";
import { matmulPalette as matmulTwin } from "../../../kernels/reference/matmul-palette";
import { matmulSwigluPalette as matmulSwigluTwin } from "../../../kernels/reference/matmul-swiglu-palette";
import { matvecPalette as matvecTwin } from "../../../kernels/reference/matvec-palette";
import { matvecSwigluPalette as matvecSwigluTwin } from "../../../kernels/reference/matvec-swiglu-palette";
import { narrowLinear } from "../../formats/narrow";
import { normals, padRows, READABLE, stepState } from "./data";
import { exactGate, f32Gate, type KernelCase, tileGate } from "./kernel-case";
import { type PaletteCase, paletteMatrix, planesOf, uploadMatrices } from "./palettes";
import { vocabulary } from "./vocabulary";

const EPS = 1e-5;

/** The worst case is the last bit of the last plane: code 15 in every column. */
function matvec(name: string, shape: PaletteCase, { norm = false, add = false } = {}): KernelCase {
  return {
    kernel: "matvec-palette",
    name,
    gate: f32Gate,
    prepare(on) {
      const matrix = paletteMatrix(shape, 1);
      const x = normals(shape.cols, 2);
      const residual = normals(shape.rows, 3);
      const weights = uploadMatrices(on, [matrix]);
      const y = on.upload("y", padRows(residual, 1, shape.rows, weights.rows), READABLE);
      const operands = {
        weights,
        x: on.upload("x", padRows(x, 1, shape.cols, weights.cols)),
        state: stepState(on, {}),
        y,
        norm: norm ? { eps: EPS, cols: shape.cols } : undefined,
        add,
      };
      return {
        record: (recorder) => matvecPalette(recorder, operands),
        outputs: [
          {
            buffer: y,
            expected: matvecTwin({ matrix, x, normEps: norm ? EPS : undefined, residual: add ? residual : undefined }),
          },
        ],
      };
    },
  };
}

const matvecSwiglu: KernelCase = {
  kernel: "matvec-swiglu-palette",
  name: "208 rows, 2 to 4 bits, both signs",
  gate: f32Gate,
  prepare(on) {
    const shape = { rows: 208, cols: 576, bits: [4, 2, 3] };
    const [gate, up] = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const x = normals(shape.cols, 3, 7);
    const weights = uploadMatrices(on, [gate, up]);
    const y = on.buffer("y", 2 * weights.rows, READABLE);
    const operands = {
      weights,
      x: on.upload("x", padRows(x, 1, shape.cols, weights.cols)),
      state: stepState(on, {}),
      y,
      norm: { eps: EPS, cols: shape.cols },
    };
    return {
      record: (recorder) => matvecSwigluPalette(recorder, operands),
      outputs: [{ buffer: y, expected: matvecSwigluTwin({ gate, up, x, normEps: EPS }) }],
    };
  },
};

/** The blocks of 4 bits, all ones: bit 31 is the one that a shift loses. Those of 3 bits must stay. */
const pack: KernelCase = {
  kernel: "pack-pairs",
  name: "4 and 3 bits, every code the last",
  gate: exactGate,
  prepare(on) {
    const matrix = paletteMatrix({ rows: 48, cols: 192, bits: [4, 3], codes: "ones" }, 1);
    const weights = uploadMatrices(on, [matrix], false);
    const packed = planesOf([matrix]);
    const words = (bytes: ArrayBuffer) => new Uint32Array(bytes);
    return {
      record: (recorder) => packPairs(recorder, weights),
      outputs: (["plane0", "plane1", "plane2"] as const).map((plane) => ({
        buffer: weights[plane],
        of: words,
        expected: packed[plane],
      })),
    };
  },
};

/** All ones again, and every change to fewer bits. */
const change: KernelCase = {
  kernel: "change-widths",
  name: "4 and 3 bits to 4, 3 and 2, every code the last",
  gate: exactGate,
  prepare(on) {
    const matrix = paletteMatrix({ rows: 64, cols: 192, bits: [4, 4, 3, 4], codes: "ones" }, 1);
    const weights = uploadMatrices(on, [matrix]);
    const narrowed = planesOf([{ ...matrix, ...narrowLinear(matrix, Uint8Array.of(4, 3, 2, 2), matrix.cols) }]);
    const next = on.upload(
      "next",
      narrowed.blocks.filter((_, i) => i % BLOCK_WORDS < 4),
    );
    const next1 = on.buffer("next1", narrowed.plane1.byteLength, READABLE);
    const next2 = on.buffer("next2", narrowed.plane2.byteLength, READABLE);
    const words = (bytes: ArrayBuffer) => new Uint32Array(bytes);
    return {
      record: (recorder) => changeWidths(recorder, { weights, next, next1, next2 }),
      outputs: [
        { buffer: weights.plane0, of: words, expected: narrowed.plane0 },
        { buffer: next1, of: words, expected: narrowed.plane1 },
        { buffer: next2, of: words, expected: narrowed.plane2 },
      ],
    };
  },
};

/** A last tile with one token and one block; rows of the step beyond T must not be read. */
const matmul: KernelCase = {
  kernel: "matmul-palette",
  name: "65 tokens, 80 rows, 2 to 4 bits, residual",
  gate: tileGate,
  prepare(on) {
    const T = 65;
    const shape = { rows: 80, cols: 320, bits: [4, 2, 3] };
    const matrix = paletteMatrix(shape, 1);
    const x = normals(T * shape.cols, 2);
    const scale = normals(T, 3);
    const residual = normals(T * shape.rows, 4);
    const weights = uploadMatrices(on, [matrix]);
    const y = on.upload("y", residual, READABLE);
    const padded = new Float32Array((T + 8) * weights.cols).fill(Number.NaN);
    padded.set(padRows(x, T, shape.cols, weights.cols));
    const operands = {
      weights,
      x: on.upload("x", padded),
      xStride: weights.cols,
      y,
      yStride: shape.rows,
      state: stepState(on, { count: T }),
      scale: on.upload("scale", scale),
      scaled: true,
      add: true,
      tokens: T + 8,
    };
    return {
      record: (recorder) => matmulPalette(recorder, operands),
      outputs: [{ buffer: y, expected: matmulTwin({ matrix, x, scale, residual }) }],
    };
  },
};

const matmulSwiglu: KernelCase = {
  kernel: "matmul-swiglu-palette",
  name: "70 tokens, 11 blocks",
  gate: tileGate,
  prepare(on) {
    const T = 70;
    const shape = { rows: 176, cols: 64, bits: [4, 3] };
    const [gate, up] = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const x = normals(T * shape.cols, 3);
    const scale = normals(T, 4, 0.2);
    const y = on.buffer("y", 4 * T * shape.rows, READABLE);
    const operands = {
      weights: uploadMatrices(on, [gate, up]),
      x: on.upload("x", x),
      xStride: shape.cols,
      y,
      yStride: shape.rows,
      state: stepState(on, { count: T }),
      scale: on.upload("scale", scale),
      tokens: T,
    };
    return {
      record: (recorder) => matmulSwigluPalette(recorder, operands),
      outputs: [{ buffer: y, expected: matmulSwigluTwin({ gate, up, x, scale }) }],
    };
  },
};

/** A vocabulary that no tile divides: its padding rows must stay out of the logits. */
const head: KernelCase = {
  kernel: "head-int8",
  name: "a prime vocabulary",
  gate: f32Gate,
  prepare(on) {
    const [V, D] = [257, 576];
    const { table, rowScale, buffers } = vocabulary(on, V, D);
    const x = normals(D, 4);
    const logits = on.buffer("logits", 16 * Math.ceil(V / 4), READABLE);
    const operands = { head: buffers, x: on.upload("x", x), state: stepState(on, {}), logits };
    return {
      record: (recorder) => headInt8(recorder, operands),
      outputs: [{ buffer: logits, expected: headTwin({ table, rowScale, x }) }],
    };
  },
};

export const LINEAR_CASES: readonly KernelCase[] = [
  matvec("52 x 176, 3 and 4 bits, norm", { rows: 52, cols: 176, bits: [4, 3] }, { norm: true }),
  matvec("64 x 1536, 2 and 4 bits, 8 columns kept, residual", { rows: 64, cols: 1536, bits: [4, 2], kept: 8 }, { add: true }),
  matvec("every code the last", { rows: 48, cols: 192, bits: [4, 3, 2], codes: "ones" }),
  matvecSwiglu,
  pack,
  change,
  matmul,
  matmulSwiglu,
  head,
];
