/** Weights in f32: what runs models that are not palettized. */
import type { DenseMatrix } from "../../../kernels/dense-matrix";
import { embedDense } from "../../../kernels/embed-dense";
import { matmulDense } from "../../../kernels/matmul-dense";
import { matvecDense } from "../../../kernels/matvec-dense";
import { embedDense as embedTwin } from "../../../kernels/reference/embed-dense";
import { matmulDense as matmulTwin } from "../../../kernels/reference/matmul-dense";
import { matvecDense as matvecTwin } from "../../../kernels/reference/matvec-dense";
import { swiglu as swigluTwin } from "../../../kernels/reference/swiglu";
import { swiglu } from "../../../kernels/swiglu";
import { type Allocator, normals, READABLE, stepState } from "./data";
import { exactGate, f32Gate, type KernelCase } from "./kernel-case";

/** f32 [rows, cols], already as wide as the kernels want it. */
function denseMatrix(on: Allocator, rows: number, cols: number): { weights: Float32Array; matrix: DenseMatrix } {
  const weights = normals(rows * cols, 1);
  return { weights, matrix: { rows, cols, weights: on.upload("weights", weights), bytes: weights.byteLength } };
}

const matvec: KernelCase = {
  kernel: "matvec-dense",
  name: "260 x 320, norm and residual",
  gate: f32Gate,
  prepare(on) {
    const [rows, cols, eps] = [260, 320, 1e-5];
    const { weights, matrix } = denseMatrix(on, rows, cols);
    const x = normals(cols, 2);
    const residual = normals(rows, 3);
    const y = on.upload("y", residual, READABLE);
    const operands = { matrix, x: on.upload("x", x), state: stepState(on, {}), y, norm: { eps, cols }, add: true };
    return {
      record: (recorder) => matvecDense(recorder, operands),
      outputs: [{ buffer: y, expected: matvecTwin({ weights, x, normEps: eps, residual }) }],
    };
  },
};

/** A last tile with one token; rows of the step beyond T must not be read. */
const matmul: KernelCase = {
  kernel: "matmul-dense",
  name: "65 tokens, 68 rows, residual",
  gate: f32Gate,
  prepare(on) {
    const [T, rows, cols] = [65, 68, 320];
    const { weights, matrix } = denseMatrix(on, rows, cols);
    const x = normals(T * cols, 2);
    const padded = new Float32Array((T + 8) * cols).fill(Number.NaN);
    padded.set(x);
    const scale = normals(T, 3);
    const residual = normals(T * rows, 4);
    const y = on.upload("y", residual, READABLE);
    const operands = {
      matrix,
      x: on.upload("x", padded),
      xStride: cols,
      y,
      yStride: rows,
      state: stepState(on, { count: T }),
      scale: on.upload("scale", scale),
      scaled: true,
      add: true,
      tokens: T + 8,
    };
    return {
      record: (recorder) => matmulDense(recorder, operands),
      outputs: [{ buffer: y, expected: matmulTwin({ weights, x, cols, scale, residual }) }],
    };
  },
};

const embed: KernelCase = {
  kernel: "embed-dense",
  name: "the table's first and last rows",
  gate: exactGate,
  prepare(on) {
    const [V, D] = [12, 260];
    const ids = [3, V - 1, 0];
    const { weights: table, matrix } = denseMatrix(on, V, D);
    const x = on.buffer("x", 4 * ids.length * D, READABLE);
    const operands = {
      table: matrix,
      ids: on.upload("ids", Uint32Array.from(ids)),
      state: stepState(on, { count: ids.length }),
      x,
      stride: D,
      tokens: ids.length,
    };
    return {
      record: (recorder) => embedDense(recorder, operands),
      outputs: [{ buffer: x, expected: embedTwin({ table, ids, D }) }],
    };
  },
};

/** exp(100) is beyond f32: the result must be 0 and not 0 times infinity. */
const swigluCase: KernelCase = {
  kernel: "swiglu",
  name: "gates of -100",
  gate: f32Gate,
  prepare(on) {
    const [T, rows] = [2, 260];
    const v = normals(T * 2 * rows, 1, 2);
    for (let t = 0; t < T; t++) v.fill(-100, t * 2 * rows, t * 2 * rows + rows / 2);
    const y = on.buffer("y", 4 * T * rows, READABLE);
    const operands = { v: on.upload("v", v), rows, state: stepState(on, { count: T }), y, yStride: rows, tokens: T };
    return {
      record: (recorder) => swiglu(recorder, operands),
      outputs: [{ buffer: y, expected: swigluTwin({ v, rows }) }],
    };
  },
};

export const DENSE_CASES: readonly KernelCase[] = [matvec, matmul, embed, swigluCase];
