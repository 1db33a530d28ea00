/**
 * The compiler: a plain llama checkpoint to a palettized model directory (README, "The model format"). It needs no text; with one
 * it knows what the linears read. The same input gives the same bytes. It holds the planes that wait for their shard, and one
 * layer's weights at a time.
 */
import { inlinePool } from "../compute/pool";
import type { ModelConfig } from "../engine/config";
import { OchreError } from "../errors";
import { linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { formatError } from "../formats/json";
import { FORMAT_VERSION, LINEARS, PALETTE_ROWS, type PalettizedConfig, type ShardIndex } from "../formats/palettized";
import { type Allocation, allocateBits, checkAllocation, checkSensitivities, hasChoice } from "./allocate";
import { type Calibration, type CalibrationText, calibrationOf, describeCalibration, probeTokensOf } from "./calibration";
import { palettizeOver } from "./code-linear";
import { quantizeTable, tableParts } from "./embedding";
import { foldRotations, normBefore, rotationsOf } from "./fold";
import { checkSource, type FoldedLinear, foldedLinears, readFinite } from "./layers";
import { measureDamages } from "./measure";
import {
  averageBits,
  type Extras,
  MOST_KEPT,
  type ModelBits,
  modelLinears,
  norms,
  planTensors,
  tables,
  tensorsOf,
  uniformBits,
} from "./plan";
import { Probe } from "./probe";
import { type ModelSink, planShards, ShardWriter } from "./shards";
import { type CompilerPool, tasks } from "./tasks";

export interface PalettizeOptions {
  sink: ModelSink;
  /** What `config.json` names as the source; the checkpoint's own name where absent. */
  source?: PalettizedConfig["source"];
  /** Random tokens that run through the model for error feedback (probe.ts); default 512, 0 rounds to the nearest entry. */
  probeTokens?: number;
  /** Runs through the model instead, in windows of 512 tokens. */
  text?: CalibrationText;
  /** Of the rotations and the random tokens, 0 to 2^32 - 2; default 1. */
  seed?: number;
  /** The width of each block; default 4 everywhere. */
  bits?: ModelBits;
  /** Instead of `bits`: the compiler chooses them, which takes another pass over all linears, longer than the one that writes. */
  allocation?: Allocation;
  /**
   * Linear to what a unit of its output error costs; default those of `allocation`. The model will say what that makes of an error
   * of its weights, for those who leave planes away (`quantization_config.sensitivities`).
   */
  sensitivities?: Readonly<Record<string, number>>;
  /** Columns that each down_proj keeps in f16, 0 to 16; default 8 with a text, else none. */
  kept?: number;
  /** Codes that can be cut to fewer bits, at some cost in quality; default false. */
  elastic?: boolean;
  /** What computes; default the caller's own thread. It stays open. */
  pool?: CompilerPool;
  /** After every linear of each pass: how many of all are done, and which was the last. */
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
  /** The width of each block. */
  bits: ModelBits;
  /** Columns that each down_proj keeps. */
  kept: number;
  elastic: boolean;
  calibration: Calibration;
}

/** Any would do; it is fixed so that a model compiles to the same bytes for ever. */
export const DEFAULT_SEED = 1;

/**
 * @throws OchreError INVALID_ARGUMENT where the checkpoint is palettized already or options make no sense, MODEL_UNSUPPORTED where
 *   it holds a tensor that would be lost (a bias), MODEL_FORMAT where one is missing, misshapen or not finite.
 */
export async function palettize(
  checkpoint: Checkpoint,
  config: ModelConfig,
  options: PalettizeOptions,
): Promise<PalettizeReport> {
  const { sink, source = { name: checkpoint.name }, seed = DEFAULT_SEED, allocation, onProgress, signal } = options;
  const { pool = inlinePool(tasks), sensitivities = allocation?.sensitivities ?? {} } = options;
  checkSource(checkpoint, config);
  const calibration = calibrationOf(config, options.text, options.probeTokens);
  const extras = extrasOf(options);
  if (extras.kept > 0 && calibration.kind === "none")
    throw new OchreError("INVALID_ARGUMENT", "[palettize] keeping columns needs a text or random tokens but probeTokens is 0.");
  if (allocation) checkAllocation(config, allocation, extras);
  checkSensitivities(config, sensitivities);
  const choosing = allocation !== undefined && hasChoice(config, allocation);
  if (choosing && calibration.kind === "none")
    throw new OchreError("INVALID_ARGUMENT", "[palettize] choosing widths needs a text or random tokens but probeTokens is 0.");

  const rotation = rotationsOf(config, seed);
  const rotations = foldRotations(rotation);
  const probeTokens = probeTokensOf(config, calibration, options.text, seed);
  /** One pass over all linears; what they read is measured anew. */
  const walk = async (): Promise<AsyncGenerator<FoldedLinear>> => {
    if (!probeTokens) return foldedLinears(checkpoint, config, rotations, undefined, signal, extras);
    const embedding = await readFinite(checkpoint, "model.embed_tokens.weight");
    const probe = new Probe(config, rotations, embedding, probeTokens, pool);
    return foldedLinears(checkpoint, config, rotations, probe, signal, extras);
  };
  const total = config.L * LINEARS.length * (choosing ? 2 : 1);
  let done = 0;
  const onLinear = (name: string) => onProgress?.({ done: ++done, total, name });

  const damages = choosing
    ? await measureDamages(config, await walk(), calibration.tokens, allocation, pool, onLinear, extras.elastic)
    : new Map<string, Float64Array[]>();
  const bits = allocation ? allocateBits(config, damages, allocation, extras) : (options.bits ?? uniformBits(config, 4));
  checkBits(config, bits);
  const plan = planTensors(config, bits, extras);
  const writer = new ShardWriter(planShards(plan), sink);
  await writeTables(checkpoint, config, writer, signal);
  const { linears, relativeError, outputRatios } = await writeLinears(
    config,
    await walk(),
    { bits, elastic: extras.elastic },
    pool,
    writer,
    onLinear,
  );
  signal?.throwIfAborted();

  const index = writer.index();
  const quantization: PalettizedConfig = {
    quant_method: "palettized",
    version: FORMAT_VERSION,
    palette_rows: PALETTE_ROWS,
    average_bits: Math.round(averageBits(config, plan) * 1e4) / 1e4,
    rotation,
    ...sensitivitiesOf(sensitivities, outputRatios, calibration.tokens),
    calibration: describeCalibration(calibration),
    source,
  };
  const shardBytes = index.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  const jsonBytes = await writeJsonFiles(checkpoint, index, quantization, sink);
  const bytes = shardBytes + jsonBytes;
  return { bytes, averageBits: quantization.average_bits, relativeError, linears, bits, ...extras, calibration };
}

const DEFAULT_KEPT = 8;

/** @throws OchreError INVALID_ARGUMENT for a number of kept columns that is out of range. */
function extrasOf({ text, kept = text ? DEFAULT_KEPT : 0, elastic = false }: PalettizeOptions): Required<Extras> {
  if (Number.isInteger(kept) && kept >= 0 && kept <= MOST_KEPT) return { kept, elastic };
  throw new OchreError("INVALID_ARGUMENT", `[palettize] kept columns must be 0 to ${MOST_KEPT} but are ${kept}.`);
}

/** @throws OchreError INVALID_ARGUMENT where they are not of this model. */
function checkBits(config: ModelConfig, bits: ModelBits): void {
  for (const { name, blocks } of modelLinears(config)) {
    const widths = bits.get(name);
    if (widths?.length === blocks && widths.every((width) => width >= 2 && width <= 4)) continue;
    throw new OchreError(
      "INVALID_ARGUMENT",
      `[palettize] ${name} needs ${blocks} widths of 2 to 4 bits but has ${widths ? widths.join(",").slice(0, 60) : "none"}.`,
      { details: { linear: name } },
    );
  }
}

/**
 * From nats for a unit of output error to nats for a unit of squared error of the weights, as each linear's own errors have it.
 * One that has none is not named, and neither is any without inputs: nothing is known of them.
 */
function sensitivitiesOf(
  ofOutputs: Readonly<Record<string, number>>,
  outputRatios: ReadonlyMap<string, number>,
  tokens: number,
): Pick<PalettizedConfig, "sensitivities"> {
  const sensitivities: Record<string, number> = {};
  for (const [name, outputRatio] of outputRatios)
    if (Object.hasOwn(ofOutputs, name)) sensitivities[name] = Number(((ofOutputs[name] * outputRatio) / tokens).toPrecision(4));
  return Object.keys(sensitivities).length > 0 ? { sensitivities } : {};
}

async function writeTables(checkpoint: Checkpoint, config: ModelConfig, writer: ShardWriter, signal?: AbortSignal) {
  const { V, D } = config;
  for (const table of tables(config)) {
    signal?.throwIfAborted();
    const { codes, rowScale } = quantizeTable(table, await readFinite(checkpoint, `${table}.weight`), V, D);
    let at = 0;
    for (const [part, rows] of tableParts(V, D).entries()) {
      await writer.put(`${table}.int8.${part}`, codes.subarray(at, at + rows * D));
      at += rows * D;
    }
    await writer.put(`${table}.row_scale`, rowScale);
  }
  for (const name of norms(config)) await writer.put(name, await readFinite(checkpoint, name));
}

async function writeLinears(
  config: ModelConfig,
  folded: AsyncIterable<FoldedLinear>,
  { bits, elastic }: { bits: ModelBits; elastic: boolean },
  pool: CompilerPool,
  writer: ShardWriter,
  onLinear: (name: string) => void,
): Promise<Pick<PalettizeReport, "relativeError" | "linears"> & { outputRatios: Map<string, number> }> {
  const linears: PalettizeReport["linears"] = [];
  /** Linear to its output error, of all tokens, for a unit of squared error of its weights. */
  const outputRatios = new Map<string, number>();
  let squaredError = 0;
  let squaredNorm = 0;
  const coded = oneAhead(folded, async ({ name, linear, weight, inputs }) => {
    return {
      name,
      linear,
      result: await palettizeOver(pool, weight, bits.get(name)!, linearShape(config, linear), inputs, elastic),
    };
  });
  for await (const { name, linear, result } of coded) {
    if (!Number.isFinite(result.squaredNorm)) {
      throw formatError("palettize", `${name}.weight times ${normBefore(linear)} must stay finite in f32 but does not.`, {
        tensor: name,
      });
    }
    for (const [suffix, data] of tensorsOf(result.linear)) await writer.put(`${name}.${suffix}`, data);
    linears.push({ name, relativeError: ratio(result.squaredError, result.squaredNorm) });
    const outputRatio = result.outputErrors.reduce((sum, error) => sum + error, 0) / result.squaredError;
    if (outputRatio > 0 && outputRatio < Number.POSITIVE_INFINITY) outputRatios.set(name, outputRatio);
    squaredError += result.squaredError;
    squaredNorm += result.squaredNorm;
    onLinear(name);
  }
  return { relativeError: ratio(squaredError, squaredNorm), linears, outputRatios };
}

/** Results in order; while one is in the making, the next item is fetched and begun. */
async function* oneAhead<Item, Result>(items: AsyncIterable<Item>, make: (item: Item) => Promise<Result>) {
  let before: Promise<Result> | undefined;
  for await (const item of items) {
    const next = make(item);
    // It is awaited a turn later, or never where the one before it fails.
    next.catch(() => {});
    if (before) yield await before;
    before = next;
  }
  if (before) yield await before;
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
