/** The two operations of a layer that take another kernel for one token (decode) than for many (prefill). */
import { attentionDecode } from "../../kernels/attention-decode";
import { attentionMerge } from "../../kernels/attention-merge";
import { attentionPrefill } from "../../kernels/attention-prefill";
import type { Recorder } from "../../kernels/define-kernel";
import { matmulPalette } from "../../kernels/matmul-palette";
import { matmulSwigluPalette } from "../../kernels/matmul-swiglu-palette";
import { matvecPalette } from "../../kernels/matvec-palette";
import { matvecSwigluPalette } from "../../kernels/matvec-swiglu-palette";
import type { PaletteWeights } from "../../kernels/palette-weights";
import { rmsInverse } from "../../kernels/rms-inverse";
import type { StepBuffers } from "./step-buffers";

/** Where an operation is recorded, and for how many tokens. */
export interface StepAt {
  recorder: Recorder;
  step: StepBuffers;
  tokens: number;
}

interface LinearArgs {
  weights: PaletteWeights;
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

/** y = W x, or y += W x; with `norm`, of the RMS-normalised x. */
export function linear(at: StepAt, { norm, add, ...args }: LinearArgs & { norm?: Norm; add?: boolean }): void {
  const { recorder, step, tokens } = at;
  if (tokens === 1) {
    matvecPalette(recorder, { ...args, state: step.state, norm, add });
    return;
  }
  if (norm) inverseRms(at, args, norm);
  matmulPalette(recorder, { ...args, state: step.state, scale: step.scale, scaled: norm !== undefined, add, tokens });
}

/** y = silu(Wg x) * Wu x of the RMS-normalised x. */
export function swigluLinear(at: StepAt, { norm, ...args }: LinearArgs & { norm: Norm }): void {
  const { recorder, step, tokens } = at;
  if (tokens === 1) {
    matvecSwigluPalette(recorder, { ...args, state: step.state, norm });
    return;
  }
  inverseRms(at, args, norm);
  matmulSwigluPalette(recorder, { ...args, state: step.state, scale: step.scale, tokens });
}

function inverseRms({ recorder, step, tokens }: StepAt, { x, xStride }: LinearArgs, { eps, cols }: Norm): void {
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
