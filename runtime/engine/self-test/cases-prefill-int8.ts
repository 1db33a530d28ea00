/** Linears in int8 for many tokens: with palettes as GPUs have them, and expanded as software adapters have them. */
import { matmulInt8 } from "../../../kernels/matmul-int8";
import { matmulPaletteInt8 } from "../../../kernels/matmul-palette-int8";
import { matmulSwigluInt8 } from "../../../kernels/matmul-swiglu-int8";
import { matmulSwigluPaletteInt8 } from "../../../kernels/matmul-swiglu-palette-int8";
import { quantizeRows } from "../../../kernels/quantize-rows";
import { int8Matrix } from "../../../kernels/reference/expand-int8";
import { int8RowValues } from "../../../kernels/reference/int8-row";
import { matmulInt8 as matmulTwin } from "../../../kernels/reference/matmul-int8";
import { matmulPaletteInt8 as matmulPaletteTwin } from "../../../kernels/reference/matmul-palette-int8";
import { matmulSwigluInt8 as swigluTwin } from "../../../kernels/reference/matmul-swiglu-int8";
import { matmulSwigluPaletteInt8 as swigluPaletteTwin } from "../../../kernels/reference/matmul-swiglu-palette-int8";
import { quantizeRows as quantizeTwin } from "../../../kernels/reference/quantize-rows";
import { normals, READABLE, stepState } from "./data";
import { int8Gate, roomForRows, rowValues, uploadInt8, uploadRows } from "./int8";
import { f32Gate, type KernelCase } from "./kernel-case";
import { paletteMatrix, uploadMatrices } from "./palettes";

/** A row beyond the step's last token, which must not be read. */
const strayRow = (cols: number) => ({
  codes: new Int8Array(cols).fill(-1),
  scales: new Float32Array(cols / 16).fill(Number.NaN),
});

/** A last tile with one token and one block, every width, and an outlier that a block's other values vanish beside. */
const linear = (kernel: "matmul-int8" | "matmul-palette-int8"): KernelCase => ({
  kernel,
  name: "65 tokens, 80 rows, 2 to 4 bits, an outlier, residual",
  gate: f32Gate,
  prepare(on) {
    const T = 65;
    const shape = { rows: 80, cols: 320, bits: [4, 2, 3] };
    const palettes = paletteMatrix(shape, 1);
    const matrix = int8Matrix(palettes);
    const x = normals(T * shape.cols, 2);
    x[100] = 24289;
    const scale = normals(T, 3);
    const residual = normals(T * shape.rows, 4);
    const y = on.upload("y", residual, READABLE);
    const operands = {
      y,
      yStride: shape.rows,
      state: stepState(on, { count: T }),
      scale: on.upload("scale", scale),
      scaled: true,
      add: true,
      tokens: T + 1,
    };
    if (kernel === "matmul-int8") {
      const padded = new Float32Array((T + 1) * shape.cols).fill(Number.NaN);
      padded.set(x);
      const all = { weights: uploadInt8(on, [matrix]), x: on.upload("x", padded), xStride: shape.cols, ...operands };
      return {
        record: (recorder) => matmulInt8(recorder, all),
        outputs: [{ buffer: y, expected: matmulTwin({ matrix, x, scale, residual }) }],
      };
    }
    const { rows } = quantizeTwin({ x, D: shape.cols });
    const x8 = uploadRows(on, [...rows, strayRow(shape.cols)]);
    const all = { weights: uploadMatrices(on, [palettes]), x8, ...operands };
    return {
      record: (recorder) => matmulPaletteInt8(recorder, all),
      outputs: [{ buffer: y, expected: matmulPaletteTwin({ matrix: palettes, x: rows, scale, residual }) }],
    };
  },
});

/** 11 blocks: gate rows that end in mid-tile. */
const swiglu = (kernel: "matmul-swiglu-int8" | "matmul-swiglu-palette-int8"): KernelCase => ({
  kernel,
  name: "70 tokens, 11 blocks",
  gate: f32Gate,
  prepare(on) {
    const T = 70;
    const shape = { rows: 176, cols: 64, bits: [4, 3] };
    const palettes = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const x = normals(T * shape.cols, 3);
    const scale = normals(T, 4, 0.2);
    const y = on.buffer("y", 4 * T * shape.rows, READABLE);
    const operands = {
      y,
      yStride: shape.rows,
      state: stepState(on, { count: T }),
      scale: on.upload("scale", scale),
      tokens: T,
    };
    if (kernel === "matmul-swiglu-int8") {
      const [gate, up] = palettes.map(int8Matrix);
      const all = { weights: uploadInt8(on, [gate, up]), x: on.upload("x", x), xStride: shape.cols, ...operands };
      return {
        record: (recorder) => matmulSwigluInt8(recorder, all),
        outputs: [{ buffer: y, expected: swigluTwin({ gate, up, x, scale }) }],
      };
    }
    const { rows } = quantizeTwin({ x, D: shape.cols });
    const x8 = uploadRows(on, [...rows, strayRow(shape.cols)]);
    const all = { weights: uploadMatrices(on, palettes), x8, ...operands };
    const [gate, up] = palettes;
    return {
      record: (recorder) => matmulSwigluPaletteInt8(recorder, all),
      outputs: [{ buffer: y, expected: swigluPaletteTwin({ gate, up, x: rows, scale }) }],
    };
  },
});

/** More blocks than threads; a block of zeros. */
const quantize: KernelCase = {
  kernel: "quantize-rows",
  name: "96 blocks, one of zeros, norm",
  gate: int8Gate,
  prepare(on) {
    const cols = 1536;
    const x = normals(cols, 1);
    x.fill(0, 16, 32);
    const x8 = roomForRows(on, cols);
    const scale = on.buffer("scale", 4, READABLE);
    const norm = { eps: 1e-5, cols };
    const operands = { x: on.upload("x", x), cols, state: stepState(on, {}), x8, scale, norm, tokens: 1 };
    const { rows, scale: inverse } = quantizeTwin({ x, D: cols, eps: norm.eps });
    return {
      record: (recorder) => quantizeRows(recorder, operands),
      outputs: [
        { buffer: x8, of: (bytes) => rowValues(bytes, cols), expected: int8RowValues(rows[0]) },
        {
          buffer: scale,
          of: (bytes) => new Float32Array(bytes, 0, 1),
          expected: inverse!,
        },
      ],
    };
  },
};

export const PREFILL_INT8_CASES: readonly KernelCase[] = [
  quantize,
  linear("matmul-palette-int8"),
  swiglu("matmul-swiglu-palette-int8"),
  linear("matmul-int8"),
  swiglu("matmul-swiglu-int8"),
];
