/**
 * The operations that take another kernel by what the weights are, palettized or plain f32, or for one token (decode) than for
 * many (prefill). Nothing above this file knows which.
 */
import { attentionDecode } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionPrefill } from "../../kernels/attention-prefill";
import type { Recorder } from "../../kernels/define-kernel";
import { embedDense } from "../../kernels/embed-dense";
import { embedRotate } from "../../kernels/embed-rotate";
import { headInt8 } from "../../kernels/head-int8";
import { matmulDense } from "../../kernels/matmul-dense";
import { matmulPalette } from "../../kernels/matmul-palette";
import { matmulSwigluPalette } from "../../kernels/matmul-swiglu-palette";
import { matvecDense } from "../../kernels/matvec-dense";
import { matvecPalette } from "../../kernels/matvec-palette";
import { matvecSwigluPalette } from "../../kernels/matvec-swiglu-palette";
import { rmsInverse } from "../../kernels/rms-inverse";
import { swiglu } from "../../kernels/swiglu";
import type { StepBuffers } from "./step-buffers";
import type { LinearWeights, ModelWeights, TableWeights } from "./weights";

/** Where an operation is recorded, and for how many tokens. */
export interface StepAt {
  recorder: Recorder;
  step: StepBuffers;
  tokens: number;
}

interface LinearArgs {
  weights: LinearWeights;
  /** f32 [T, xStride]. */
  x: GPUBuffer;
  xStride: number;
  /** f32 [T, yStride]. */
  y: GPUBuffer;
  yStride: number;
}

interface Norm {
  eps: number;
  /** Unpadded width. */
  cols: number;
}

/** `x` = the embeddings of the step's ids, in the basis of the residual stream. */
export function embed({ recorder, step, tokens }: StepAt, { embedding, rotation }: ModelWeights): void {
  const { ids, state, x, strides } = step;
  const args = { ids, state, x, stride: strides.x, tokens };
  if ("rowScale" in embedding) embedRotate(recorder, { embedding, rotation, ...args });
  else embedDense(recorder, { table: embedding, ...args });
}

/** `logits` = head times `last`. */
export function applyHead(recorder: Recorder, { last, state, logits }: StepBuffers, head: TableWeights): void {
  if ("rowScale" in head) headInt8(recorder, { head, x: last, state, logits });
  else matvecDense(recorder, { matrix: head, x: last, state, y: logits });
}

/** y = W x, or y += W x; with `norm`, of the RMS-normalised x. */
export function linear(at: StepAt, { weights, norm, add, ...args }: LinearArgs & { norm?: Norm; add?: boolean }): void {
  const { recorder, step, tokens } = at;
  if (tokens === 1) {
    const one = { ...args, state: step.state, norm, add };
    if ("blocks" in weights) matvecPalette(recorder, { weights, ...one });
    else matvecDense(recorder, { matrix: weights, ...one });
    return;
  }
  if (norm) inverseRms(at, args, norm);
  const many = { ...args, state: step.state, scale: step.scale, scaled: norm !== undefined, add, tokens };
  if ("blocks" in weights) matmulPalette(recorder, { weights, ...many });
  else matmulDense(recorder, { matrix: weights, ...many });
}

/** y = silu(Wg x) * Wu x of the RMS-normalised x. */
export function swigluLinear(at: StepAt, { weights, norm, ...args }: LinearArgs & { norm: Norm }): void {
  const { recorder, step, tokens } = at;
  const { state, scale } = step;
  if (!("blocks" in weights)) {
    // Plain weights are for comparison and not for speed: two kernels do what one does for palettes.
    const gateUp = step.gateUp!; // allocated where weights are plain
    linear(at, { weights, norm, ...args, y: gateUp, yStride: weights.rows });
    swiglu(recorder, { v: gateUp, rows: weights.rows / 2, state, y: args.y, yStride: args.yStride, tokens });
  } else if (tokens === 1) {
    matvecSwigluPalette(recorder, { weights, ...args, state, norm });
  } else {
    inverseRms(at, args, norm);
    matmulSwigluPalette(recorder, { weights, ...args, state, scale, tokens });
  }
}

function inverseRms(
  { recorder, step, tokens }: StepAt,
  { x, xStride }: Pick<LinearArgs, "x" | "xStride">,
  { eps, cols }: Norm,
): void {
  rmsInverse(recorder, { x, stride: xStride, cols, eps, state: step.state, scale: step.scale, tokens });
}

/** `attended` = causal attention of the rotated queries in `qkv` over one layer's cache. */
export function attention({ recorder, step, tokens }: StepAt, layer: number): void {
  const { heads, qkv, state, split, partialSums, stats, attended, strides } = step;
  const kv = step.kv[layer];
  if (tokens === 1) {
    attentionDecode(recorder, { heads, q: qkv, kv, state, split, partialSums, stats });
    attentionMerge(recorder, { H: heads.H, d: heads.d, split, partialSums, stats, state, o: attended });
  } else {
    attentionPrefill(recorder, { heads, qkv, kv, state, o: attended, oStride: strides.attended, tokens });
  }
}
