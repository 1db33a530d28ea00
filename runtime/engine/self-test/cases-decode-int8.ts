/** Linears in int8 for a few tokens: with palettes as GPUs have them, and expanded as software adapters have them. */
import { expandInt8 } from "../../../kernels/expand-int8";
import { matvecInt8 } from "../../../kernels/matvec-int8";
import { matvecPaletteInt8 } from "../../../kernels/matvec-palette-int8";
import { matvecSwigluInt8 } from "../../../kernels/matvec-swiglu-int8";
import { matvecSwigluPaletteInt8 } from "../../../kernels/matvec-swiglu-palette-int8";
import { int8Matrix } from "../../../kernels/reference/expand-int8";
import { int8Row } from "../../../kernels/reference/int8-row";
import { matvecInt8 as matvecTwin } from "../../../kernels/reference/matvec-int8";
import { matvecSwigluInt8 as swigluTwin } from "../../../kernels/reference/matvec-swiglu-int8";
import { normals, padRows, READABLE, random, stepState } from "./data";
import { int8Codes, int8Gate, quantized, roomForRows, rowValues, uploadInt8, uploadRows } from "./int8";
import { exactGate, f32Gate, type KernelCase } from "./kernel-case";
import { paletteMatrix, uploadMatrices, wholePalettes } from "./palettes";

const EPS = 1e-5;

type Kind = "int8" | "palette-int8";

/** Every width, rows that are no whole blocks, an outlier beside which a block's other values vanish. */
const matvec = (kind: Kind, int8: boolean): KernelCase => ({
  kernel: `matvec-${kind}`,
  name: `52 x 176, 2 to 4 bits, an outlier, norm, residual${int8 ? ", in int8" : ""}`,
  gate: int8 ? int8Gate : f32Gate,
  prepare(on) {
    const shape = { rows: 52, cols: 176, bits: [4, 3, 2] };
    const palettes = paletteMatrix(shape, 1);
    const matrix = int8Matrix(palettes);
    const values = normals(shape.cols, 2);
    values[5] = 24289;
    const x = int8Row(values);
    const residual = normals(shape.rows, 3);
    const y = on.upload("y", padRows(residual, 1, shape.rows, 64), READABLE);
    const y8 = roomForRows(on, 64);
    const norm = { eps: EPS, cols: shape.cols };
    const operands = { x8: uploadRows(on, [x]), state: stepState(on, {}), y, yStride: 64, y8, int8, norm, add: true, tokens: 1 };
    const expected = matvecTwin({ matrix, x, normEps: EPS, residual });
    const asInt8 = { buffer: y8, of: (bytes: ArrayBuffer) => rowValues(bytes, 64), expected: quantized(expected) };
    const outputs = [int8 ? asInt8 : { buffer: y, expected }];
    if (kind === "int8") {
      const weights = uploadInt8(on, [matrix]);
      return { record: (recorder) => matvecInt8(recorder, { weights, ...operands }), outputs };
    }
    const weights = uploadMatrices(on, [palettes]);
    return { record: (recorder) => matvecPaletteInt8(recorder, { weights, ...operands }), outputs };
  },
});

/** Whole numbers times whole numbers, as large as they come: every sum must be the integer. */
const exact = (kind: Kind): KernelCase => ({
  kernel: `matvec-${kind}`,
  name: "integers are summed exactly",
  gate: exactGate,
  prepare(on) {
    const shape = { rows: 48, cols: 1536, bits: [4, 3, 2] };
    const palettes = wholePalettes(paletteMatrix(shape, 1));
    const matrix = int8Matrix(palettes);
    const uniform = random(2);
    const x = {
      codes: Int8Array.from({ length: shape.cols }, (_, c) => (c < 512 ? 127 : Math.floor(255 * uniform()) - 127)),
      scales: new Float32Array(shape.cols / 16).fill(1),
    };
    const y = on.buffer("y", 4 * shape.rows, READABLE);
    const y8 = on.buffer("y8", 0);
    const operands = { x8: uploadRows(on, [x]), state: stepState(on, {}), y, yStride: shape.rows, y8, tokens: 1 };
    const outputs = [{ buffer: y, expected: matvecTwin({ matrix, x }) }];
    if (kind === "int8") {
      const weights = uploadInt8(on, [matrix]);
      return { record: (recorder) => matvecInt8(recorder, { weights, ...operands }), outputs };
    }
    const weights = uploadMatrices(on, [palettes]);
    return { record: (recorder) => matvecPaletteInt8(recorder, { weights, ...operands }), outputs };
  },
});

/** Three tokens of which the step has two: the third must not be written. */
const swiglu = (kind: Kind): KernelCase => ({
  kernel: `matvec-swiglu-${kind}`,
  name: "208 rows, 2 to 4 bits, both signs, 2 of 3 tokens",
  gate: int8Gate,
  prepare(on) {
    const shape = { rows: 208, cols: 576, bits: [4, 2, 3] };
    const palettes = [paletteMatrix(shape, 1), paletteMatrix(shape, 2)];
    const [gate, up] = palettes.map(int8Matrix);
    const rows = [3, 4, 5].map((seed) => int8Row(normals(shape.cols, seed, 7)));
    const y8Cols = 256;
    const y8 = roomForRows(on, y8Cols, 3);
    const norm = { eps: EPS, cols: shape.cols };
    const operands = { x8: uploadRows(on, rows), state: stepState(on, { count: 2 }), y8, y8Cols, norm, tokens: 3 };
    const expected = rows.slice(0, 2).map((x) => quantized(swigluTwin({ gate, up, x, normEps: EPS })));
    const outputs = [
      {
        buffer: y8,
        of: (bytes: ArrayBuffer) => [0, 1, 2].flatMap((t) => [...rowValues(bytes, y8Cols, t)]),
        expected: [...expected.flatMap((row) => [...row]), ...new Array<number>(y8Cols).fill(0)],
      },
    ];
    if (kind === "int8") {
      const weights = uploadInt8(on, [gate, up]);
      return { record: (recorder) => matvecSwigluInt8(recorder, { weights, ...operands }), outputs };
    }
    const weights = uploadMatrices(on, palettes);
    return { record: (recorder) => matvecSwigluPaletteInt8(recorder, { weights, ...operands }), outputs };
  },
});

/** The last bit of the last plane, in whole blocks and without padding, where nothing is left undefined. */
const expand: KernelCase = {
  kernel: "expand-int8",
  name: "96 x 192, 2 to 4 bits",
  gate: exactGate,
  prepare(on) {
    const shape = { rows: 96, cols: 192, bits: [4, 3, 2] };
    const matrix = paletteMatrix(shape, 1);
    const palettes = uploadMatrices(on, [matrix], false);
    const codes = on.buffer("codes", shape.rows * shape.cols, READABLE);
    const weights = { ...shape, codes, scales: on.buffer("scales", 4 * shape.rows), bytes: shape.rows * (shape.cols + 4) };
    return {
      record: (recorder) => expandInt8(recorder, { palettes, weights }),
      outputs: [{ buffer: codes, of: (bytes) => new Int8Array(bytes), expected: int8Codes([int8Matrix(matrix)]) }],
    };
  },
};

export const DECODE_INT8_CASES: readonly KernelCase[] = [
  expand,
  ...(["int8", "palette-int8"] as const).flatMap((kind) => [matvec(kind, false), matvec(kind, true), exact(kind), swiglu(kind)]),
];
