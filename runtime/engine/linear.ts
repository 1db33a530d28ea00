/**
 * The linears: another kernel by what the weights are, palettized, in int8 or plain f32, and for one token or a few (decode) than
 * for many (prefill). Nothing above this file knows which.
 */
import { MOST_FEW } from "../../kernels/define-kernel";
import { matmulDense } from "../../kernels/matmul-dense";
import { matmulInt8 } from "../../kernels/matmul-int8";
import { matmulPalette } from "../../kernels/matmul-palette";
import { matmulPaletteInt8 } from "../../kernels/matmul-palette-int8";
import { matmulSwigluInt8 } from "../../kernels/matmul-swiglu-int8";
import { matmulSwigluPalette } from "../../kernels/matmul-swiglu-palette";
import { matmulSwigluPaletteInt8 } from "../../kernels/matmul-swiglu-palette-int8";
import { matvecDense } from "../../kernels/matvec-dense";
import { matvecInt8 } from "../../kernels/matvec-int8";
import { matvecPalette } from "../../kernels/matvec-palette";
import { matvecPaletteInt8 } from "../../kernels/matvec-palette-int8";
import { matvecSwigluInt8 } from "../../kernels/matvec-swiglu-int8";
import { matvecSwigluPalette } from "../../kernels/matvec-swiglu-palette";
import { matvecSwigluPaletteInt8 } from "../../kernels/matvec-swiglu-palette-int8";
import { quantizeRows } from "../../kernels/quantize-rows";
import { rmsInverse } from "../../kernels/rms-inverse";
import { swiglu } from "../../kernels/swiglu";
import { addTerms } from "./adapted-linear";
import type { LayerAt, StepAt } from "./blocks";
import type { LayerWeights, LinearWeights } from "./weights";

interface LinearArgs {
  /** f32 [T, xStride]. */
  x: GPUBuffer;
  xStride: number;
  /** int8 rows of x, there where the step is in int8. */
  x8: GPUBuffer;
  /** f32 [T, yStride]. */
  y: GPUBuffer;
  yStride: number;
  /** int8 rows of y, where a linear reads them next. */
  y8?: GPUBuffer;
}

interface Norm {
  eps: number;
  /** Unpadded width. */
  cols: number;
}

type Options = LinearArgs & { norm?: Norm; add?: boolean };

/** y = W x, or y += W x; with `norm`, of the RMS-normalised x. What adapters add to W counts. */
export function linear(at: LayerAt, name: keyof LayerWeights, args: Options): void {
  const weights = at.linears[name];
  const terms = { ...args, cols: weights.cols };
  // What is added to the residual stream comes first: the linear writes the whole sum in int8.
  if (args.add) addTerms(at, name, terms);
  multiply(at, weights, args);
  if (!args.add) addTerms(at, name, terms);
}

function multiply(at: StepAt, weights: LinearWeights, { norm, add, x8, y8, ...args }: Options): void {
  const { recorder, step, tokens } = at;
  if (tokens <= MOST_FEW) {
    const few = { ...args, state: step.state, norm, add, tokens };
    const rows = { x8, y8: y8 ?? step.nowhere, int8: y8 !== undefined };
    if ("scales" in weights) matvecInt8(recorder, { weights, ...few, ...rows });
    else if ("blocks" in weights && step.int8) matvecPaletteInt8(recorder, { weights, ...few, ...rows });
    else if ("blocks" in weights) matvecPalette(recorder, { weights, ...few });
    else matvecDense(recorder, { matrix: weights, ...few });
    return;
  }
  const many = { ...args, state: step.state, scale: step.scale, scaled: norm !== undefined, add, tokens };
  if ("blocks" in weights && step.int8) {
    toInt8(at, args, norm);
    matmulPaletteInt8(recorder, { weights, ...many, x8: step.rows8 });
    return;
  }
  if (norm) inverseRms(at, args, norm);
  if ("scales" in weights) matmulInt8(recorder, { weights, ...many });
  else if ("blocks" in weights) matmulPalette(recorder, { weights, ...many });
  else matmulDense(recorder, { matrix: weights, ...many });
}

/** y = silu(Wg x) * Wu x of the RMS-normalised x. */
export function swigluLinear(
  at: LayerAt,
  name: "gate_up_proj",
  { norm, x8, y8, ...args }: LinearArgs & { norm: Norm; y8: GPUBuffer },
): void {
  const { recorder, step, tokens, adapted } = at;
  const { state, scale } = step;
  const weights = at.linears[name];
  if (adapted || !("scales" in weights || "blocks" in weights)) {
    // Adapters come in between, and plain weights are for comparison: several kernels do what one does for palettes.
    const gateUp = step.gateUp!; // allocated where it is needed
    linear(at, name, { norm, x8, ...args, y: gateUp, yStride: weights.rows });
    swiglu(recorder, { v: gateUp, rows: weights.rows / 2, state, y: args.y, yStride: args.yStride, tokens });
    if (step.int8 && tokens <= MOST_FEW) quantizeRows(recorder, { x: args.y, cols: args.yStride, state, x8: y8, scale, tokens });
  } else if (tokens <= MOST_FEW) {
    const rows = { x8, y8, y8Cols: args.yStride };
    if ("scales" in weights) matvecSwigluInt8(recorder, { weights, ...rows, state, norm, tokens });
    else if (step.int8) matvecSwigluPaletteInt8(recorder, { weights, ...rows, state, norm, tokens });
    else matvecSwigluPalette(recorder, { weights, ...args, state, norm, tokens });
  } else if ("blocks" in weights && step.int8) {
    toInt8(at, args, norm);
    matmulSwigluPaletteInt8(recorder, { weights, ...args, x8: step.rows8, state, scale, tokens });
  } else {
    inverseRms(at, args, norm);
    if ("scales" in weights) matmulSwigluInt8(recorder, { weights, ...args, state, scale, tokens });
    else matmulSwigluPalette(recorder, { weights, ...args, state, scale, tokens });
  }
}

type Input = Pick<LinearArgs, "x" | "xStride">;

function inverseRms({ recorder, step, tokens }: StepAt, { x, xStride }: Input, { eps, cols }: Norm): void {
  rmsInverse(recorder, { x, stride: xStride, cols, eps, state: step.state, scale: step.scale, tokens });
}

/** `rows8` = x in int8, and with `norm` the inverse RMS of each row of it. */
function toInt8({ recorder, step, tokens }: StepAt, { x, xStride }: Input, norm: Norm | undefined): void {
  const { state, scale, rows8 } = step;
  quantizeRows(recorder, { x, cols: xStride, state, x8: rows8, scale, norm, tokens });
}
