/**
 * The compiler, data-free: a plain llama checkpoint to a palettized model directory (README, "The model format").
 * The same input gives the same bytes. It holds the planes that wait for their shard, and one linear's weights at a time.
 */
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { checkPlainTensors, linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { formatError } from "../formats/json";
import {
  FORMAT_VERSION,
  LINEARS,
  linearTensor,
  PALETTE_ROWS,
  type PalettizedConfig,
  type ShardIndex,
} from "../formats/palettized";
import { rotationSpec } from "../formats/rotation";
import { quantizeTable, tableParts } from "./embedding";
import { type FoldRotations, foldLinear, foldRotations, normBefore } from "./fold";
import { palettizeLinear } from "./linear";
import { averageBits, blockBits, planTensors, tables, tensorsOf } from "./plan";
import { inputsOf, type LinearWeights, type NormWeights, Probe } from "./probe";
import { type ModelSink, planShards, ShardWriter } from "./shards";

export interface PalettizeOptions {
  sink: ModelSink;
  /** What `config.json` names as the source; the checkpoint's own name where absent. */
  source?: PalettizedConfig["source"];
  /** Random tokens that run through the model for error feedback (probe.ts); default 512, 0 rounds to the nearest entry. */
  probeTokens?: number;
  /** After every linear: how many of all are done, and which was the last. */
  onProgress?: (progress: { done: number; total: number; name: string }) => void;
  /** Rejects with the signal's reason; what the sink has by then is no model, for config.json comes last. */
  signal?: AbortSignal;
}

export interface PalettizeReport {
  /** Of all files. */
  bytes: number;
  /** Bits per weight of the linears, palettes and row scales counted. */
  averageBits: number;
  /** Norm of the error of all linears over the norm of their weights. */
  relativeError: number;
  /** In the order of the checkpoint. */
  linears: { name: string; relativeError: number }[];
}

/** Any would do; these are fixed so that a model compiles to the same bytes for ever. */
const SEEDS = { residual: 1, head: 2 };
/** What other tools leave in a checkpoint and nobody needs. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

/**
 * @throws OchreError INVALID_ARGUMENT where the checkpoint is palettized already, MODEL_UNSUPPORTED where it holds a tensor
 *   that would be lost (a bias), MODEL_FORMAT where one is missing, misshapen or not finite.
 */
export async function palettize(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { sink, source = { name: checkpoint.name }, probeTokens = 512, onProgress, signal }: PalettizeOptions,
): Promise<PalettizeReport> {
  checkSource(checkpoint, config);
  const plan = planTensors(config);
  const writer = new ShardWriter(planShards(plan), sink);
  const rotation = { residual: rotationSpec(config.D, SEEDS.residual), head: rotationSpec(config.d, SEEDS.head) };

  const rotations = foldRotations(rotation);
  const probe = probeTokens
    ? new Probe(config, rotations, await readFinite(checkpoint, "model.embed_tokens.weight"), probeTokens)
    : undefined;
  await writeTables(checkpoint, config, writer, signal);
  const errors = await writeLinears(checkpoint, config, rotations, probe, writer, { onProgress, signal });
  signal?.throwIfAborted();

  const index = writer.index();
  const quantization: PalettizedConfig = {
    quant_method: "palettized",
    version: FORMAT_VERSION,
    palette_rows: PALETTE_ROWS,
    average_bits: Math.round(averageBits(config, plan) * 1e4) / 1e4,
    rotation,
    calibration: probe ? `data-free: error feedback from ${probeTokens} random tokens` : "data-free: nearest entries",
    source,
  };
  const shardBytes = index.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  const jsonBytes = await writeJsonFiles(checkpoint, index, quantization, sink);
  return { bytes: shardBytes + jsonBytes, averageBits: quantization.average_bits, ...errors };
}

async function writeTables(checkpoint: Checkpoint, { tiedHead, V, D }: ModelConfig, writer: ShardWriter, signal?: AbortSignal) {
  for (const table of tables({ tiedHead })) {
    signal?.throwIfAborted();
    const { codes, rowScale } = quantizeTable(table, await readFinite(checkpoint, `${table}.weight`), V, D);
    let at = 0;
    for (const [part, rows] of tableParts(V, D).entries()) {
      await writer.put(`${table}.int8.${part}`, codes.subarray(at, at + rows * D));
      at += rows * D;
    }
    await writer.put(`${table}.row_scale`, rowScale);
  }
  await writer.put("model.norm.weight", await readFinite(checkpoint, "model.norm.weight"));
}

async function writeLinears(
  checkpoint: Checkpoint,
  config: ModelConfig,
  rotations: FoldRotations,
  probe: Probe | undefined,
  writer: ShardWriter,
  { onProgress, signal }: Pick<PalettizeOptions, "onProgress" | "signal">,
): Promise<Pick<PalettizeReport, "relativeError" | "linears">> {
  const linears: PalettizeReport["linears"] = [];
  const total = config.L * LINEARS.length;
  let squaredError = 0;
  let squaredNorm = 0;
  // Reading may never leave the microtask queue; a task lets the abort of a page or a terminal in.
  const breathe = async () => {
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
  };
  for (let layer = 0; layer < config.L; layer++) {
    const { weights, norms } = await readLayer(checkpoint, layer);
    await breathe();
    const inputs = probe?.run(weights, norms);
    for (const linear of LINEARS) {
      await breathe();
      const name = linearTensor(layer, linear);
      const normName = normBefore(linear);
      const weight = foldLinear(config, linear, weights[linear], normName && norms[normName], rotations);
      const result = palettizeLinear(
        weight,
        blockBits(config, linear),
        ...linearShape(config, linear),
        inputs && inputsOf(inputs, linear),
      );
      if (!Number.isFinite(result.squaredNorm)) {
        throw formatError("palettize", `${name}.weight times ${normName} must stay finite in f32 but does not.`, {
          tensor: name,
        });
      }
      for (const [suffix, data] of tensorsOf(result.linear)) await writer.put(`${name}.${suffix}`, data);
      linears.push({ name, relativeError: ratio(result.squaredError, result.squaredNorm) });
      squaredError += result.squaredError;
      squaredNorm += result.squaredNorm;
      onProgress?.({ done: linears.length, total, name });
    }
  }
  return { relativeError: ratio(squaredError, squaredNorm), linears };
}

/** One layer's linears and norms, as the checkpoint has them. */
async function readLayer(checkpoint: Checkpoint, layer: number): Promise<{ weights: LinearWeights; norms: NormWeights }> {
  const weights = {} as LinearWeights;
  for (const linear of LINEARS) weights[linear] = await readFinite(checkpoint, `${linearTensor(layer, linear)}.weight`);
  const norm = (name: keyof NormWeights) => readFinite(checkpoint, `model.layers.${layer}.${name}.weight`);
  const norms = {
    input_layernorm: await norm("input_layernorm"),
    post_attention_layernorm: await norm("post_attention_layernorm"),
  };
  return { weights, norms };
}

/** config.json last: a directory without it is no model. Returns the bytes written. */
async function writeJsonFiles(
  { files }: Checkpoint,
  index: ShardIndex,
  quantization: PalettizedConfig,
  sink: ModelSink,
): Promise<number> {
  let bytes = 0;
  const write = async (fileName: string, value: unknown, indent?: number) => {
    if (value === undefined) return;
    const encoded = new TextEncoder().encode(`${JSON.stringify(value, null, indent)}\n`);
    bytes += encoded.length;
    await sink.write(fileName, encoded);
  };
  await write("tokenizer.json", files.tokenizer);
  await write("tokenizer_config.json", files.tokenizerConfig, 2);
  await write("generation_config.json", files.generationConfig, 2);
  await write("model.safetensors.index.json", index, 2);
  await write("config.json", { ...files.config, quantization_config: quantization }, 2);
  return bytes;
}

const ratio = (squaredError: number, squaredNorm: number): number => (squaredError ? Math.sqrt(squaredError / squaredNorm) : 0);

function checkSource(checkpoint: Checkpoint, config: ModelConfig): void {
  if (config.quantization) {
    throw new OchreError("INVALID_ARGUMENT", `[palettize] ${checkpoint.name} is palettized already: give the plain checkpoint.`);
  }
  checkPlainTensors(config, checkpoint.tensors);
  const read = new Set(["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"]);
  for (let layer = 0; layer < config.L; layer++) {
    for (const linear of LINEARS) {
      read.add(`${linearTensor(layer, linear)}.weight`);
      if (normBefore(linear)) read.add(`model.layers.${layer}.${normBefore(linear)}.weight`);
    }
  }
  for (const name of checkpoint.tensors.keys()) {
    if (read.has(name) || IGNORED.test(name)) continue;
    throw new OchreError("MODEL_UNSUPPORTED", `[palettize] a llama checkpoint must hold no other tensors but holds ${name}.`, {
      details: { tensor: name },
    });
  }
}

async function readFinite(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const values = await checkpoint.read(name);
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw formatError("palettize", `${name} must be finite but value ${i} is ${values[i]}. The source is damaged.`, {
      tensor: name,
    });
  }
  return values;
}
