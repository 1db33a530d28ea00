/** Everything that one sequence writes on the GPU: its cache, its step state, the activations of a step, sampling. */
import { RANK_STRIDE } from "../../kernels/adapter-terms";
import { type SplitLayout, splitLayout } from "../../kernels/attention-decode";
import { MOST_FEW } from "../../kernels/define-kernel";
import { int8RowWords } from "../../kernels/int8-row";
import { type KvBuffers, type KvFormat, kvBytes as kvLayerBytes } from "../../kernels/kv-cache";
import type { HeadLayout } from "../../kernels/rope-kv-write";
import { candidateCount } from "../../kernels/sample-gumbel";
import { COLUMN_MULTIPLE, PALETTE_ROWS, padTo } from "../formats/palettized";
import type { Gpu } from "../gpu/device";
import { tableBytes } from "./adapter-store";
import type { ModelConfig } from "./config";
import { ropeTable } from "./rope-table";
import { SAMPLING_WORDS } from "./sampling";

/** Decode steps of one submit at most: results read back together. */
export const MOST_STEPS = 16;
const INT8_CACHE: KvFormat = { k: 8, v: 8 };
export const STATE_BYTES = 32;

export interface StepBuffers {
  /** wgsl/lib/step-state.wgsl. */
  state: GPUBuffer;
  /** u32 [T], the step's input ids; sample-pick writes the first. */
  ids: GPUBuffer;
  /** f32 [T, strides.x], the residual stream. */
  x: GPUBuffer;
  /** f32 [T, strides.qkv]. */
  qkv: GPUBuffer;
  /** f32 [T, strides.attended]. */
  attended: GPUBuffer;
  /** f32 [T, 2 F, each F padded], gate and up; only where the weights are plain or adapters count: palettes alone need no such room. */
  gateUp?: GPUBuffer;
  /** Of adapters, once there were some: which count (AdapterStore.table), and f32 [T, RANK_STRIDE]. */
  adapterTable?: GPUBuffer;
  adapterRanks?: GPUBuffer;
  /** f32 [T, strides.hidden]. */
  hidden: GPUBuffer;
  /** Linears of a few tokens read activations in int8, and who makes those writes them so. */
  int8: boolean;
  /** int8 rows (wgsl/lib/int8-row.wgsl) [few] of x, attended and hidden; without room where `int8` is false. */
  x8: GPUBuffer;
  attended8: GPUBuffer;
  hidden8: GPUBuffer;
  /** int8 rows [T] of what a linear of many tokens reads; without room where tiles multiply floats. */
  rows8: GPUBuffer;
  /** Stands for rows that a kernel could write and does not. */
  nowhere: GPUBuffer;
  /** f32 [T], inverse RMS of each token. */
  scale: GPUBuffer;
  /** f32 [few, D], the normed hidden states that the head reads. */
  last: GPUBuffer;
  /** f32 [few, V padded to 4]. */
  logits: GPUBuffer;
  /** Attention of a few tokens over splits of the cache: f32 [T, H, splits, d] and vec2 [T, H, splits]. */
  partialSums: GPUBuffer;
  stats: GPUBuffer;
  split: SplitLayout;
  /** vec2 f32 [contextTokens, d/2]. */
  cosSin: GPUBuffer;
  /** One a layer. */
  kv: KvBuffers[];
  heads: HeadLayout;
  /** Floats from token to token. */
  strides: { x: number; qkv: number; attended: number; hidden: number };
  sampling: GPUBuffer;
  /** f32 [few], of sample-threshold. */
  thresholds: GPUBuffer;
  /** (score, id) [few, candidates]. */
  best: GPUBuffer;
  /** u32 [MOST_STEPS], sampled ids. */
  results: GPUBuffer;
  /** MAP_READ copies of `results`, used in turn. */
  readback: GPUBuffer[];
}

/** `tokens`: the most of one step. Of a few tokens all are sampled from, of more the last. */
export function allocateStep(
  gpu: Gpu,
  config: ModelConfig,
  contextTokens: number,
  tokens: number,
  kv: KvFormat = INT8_CACHE,
): StepBuffers {
  const { L, D, H, G, d, F, V } = config;
  const few = Math.min(tokens, MOST_FEW);
  const heads = headLayout(config);
  const strides = {
    x: padTo(D, COLUMN_MULTIPLE),
    qkv: heads.stride,
    attended: padTo(H * d, COLUMN_MULTIPLE),
    hidden: padTo(F, COLUMN_MULTIPLE),
  };
  const int8 = gpu.tier.int8 && config.quantization !== undefined;
  const int8Rows = (label: string, cols: number) => gpu.buffer(label, int8 ? 4 * few * int8RowWords(cols) : 0);
  const int8Tiles = gpu.tier.int8 && !gpu.tier.software && config.quantization !== undefined;
  const widest = Math.max(strides.x, strides.attended, strides.hidden);
  const split = splitLayout(gpu.tier, contextTokens);
  const layerBytes = kvLayerBytes(kv, G, d, contextTokens);
  const floats = (label: string, count: number) => gpu.buffer(label, 4 * count);
  const readable = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  const { cos, sin } = ropeTable(config.rope, d, contextTokens);
  const turns = new Float32Array(2 * cos.length);
  for (let i = 0; i < cos.length; i++) {
    turns[2 * i] = cos[i];
    turns[2 * i + 1] = sin[i];
  }
  return {
    state: gpu.buffer("state", STATE_BYTES, readable),
    ids: floats("ids", tokens),
    x: floats("x", tokens * strides.x),
    qkv: floats("qkv", tokens * strides.qkv),
    attended: floats("attended", tokens * strides.attended),
    gateUp: config.quantization ? undefined : gateUp(gpu, config, tokens),
    hidden: floats("hidden", tokens * strides.hidden),
    int8,
    x8: int8Rows("x in int8", strides.x),
    attended8: int8Rows("attended in int8", strides.attended),
    hidden8: int8Rows("hidden in int8", strides.hidden),
    rows8: gpu.buffer("rows in int8", int8Tiles ? 4 * tokens * int8RowWords(widest) : 0),
    nowhere: gpu.buffer("nowhere", 0),
    scale: floats("scale", tokens),
    last: floats("last", few * D),
    logits: gpu.buffer("logits", 4 * few * padTo(V, 4), readable),
    partialSums: floats("partial sums", few * H * split.splits * d),
    stats: floats("stats", 2 * few * H * split.splits),
    split,
    cosSin: gpu.upload("cos_sin", turns),
    kv: Array.from({ length: L }, (_, layer) => ({
      k: gpu.buffer(`layer ${layer} keys`, layerBytes.k, readable),
      v: gpu.buffer(`layer ${layer} values`, layerBytes.v, readable),
      scales: gpu.buffer(`layer ${layer} kv scales`, layerBytes.scales, readable),
      maxTokens: contextTokens,
      format: kv,
    })),
    heads,
    strides,
    sampling: gpu.buffer("sampling", 4 * SAMPLING_WORDS),
    thresholds: floats("thresholds", few),
    best: floats("best", 2 * few * candidateCount(V)),
    results: gpu.buffer("results", 4 * MOST_STEPS, readable),
    readback: [0, 1].map((i) => gpu.buffer(`readback ${i}`, 4 * MOST_STEPS, GPUBufferUsage.MAP_READ)),
  };
}

const gateUp = (gpu: Gpu, { F }: ModelConfig, tokens: number): GPUBuffer =>
  gpu.buffer("gate and up", 4 * tokens * 2 * padTo(F, PALETTE_ROWS));

/** Adds what a step needs for adapters. @throws OchreError GPU_MEMORY. */
export async function allocateAdapters(gpu: Gpu, config: ModelConfig, step: StepBuffers, tokens: number): Promise<void> {
  Object.assign(
    step,
    await gpu.allocating(() => ({
      gateUp: step.gateUp ?? gateUp(gpu, config, tokens),
      adapterTable: gpu.buffer("adapter table", tableBytes(config)),
      adapterRanks: gpu.buffer("adapter ranks", 4 * tokens * RANK_STRIDE),
    })),
  );
}

export function kvBytes({ kv }: StepBuffers): number {
  return kv.reduce((sum, { k, v, scales }) => sum + k.size + v.size + scales.size, 0);
}

export function releaseStep(gpu: Gpu, step: StepBuffers): void {
  const { kv, readback, ...rest } = step;
  const buffers = Object.values(rest).filter((value): value is GPUBuffer => value instanceof GPUBuffer);
  for (const { k, v, scales } of kv) buffers.push(k, v, scales);
  for (const buffer of [...buffers, ...readback]) gpu.release(buffer);
}

/** Where q, k and v stand in a row of the stacked projection: each part padded to whole 16-row blocks. */
function headLayout({ H, G, d }: ModelConfig): HeadLayout {
  const kAt = padTo(H * d, PALETTE_ROWS);
  const vAt = kAt + padTo(G * d, PALETTE_ROWS);
  return { H, G, d, kAt, vAt, stride: padTo(vAt + padTo(G * d, PALETTE_ROWS), COLUMN_MULTIPLE) };
}
