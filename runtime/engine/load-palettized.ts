/** A palettized checkpoint onto the GPU. Nothing of a weight stays in JavaScript's heap. */
import type { RotationBuffer, VocabularyTable } from "../../kernels/embed-rotate";
import { packPairs } from "../../kernels/pack-pairs";
import { BLOCK_WORDS, keptWords, type PaletteWeights } from "../../kernels/palette-weights";
import { OchreError } from "../errors";
import { checkBits, checkFinite, checkKeptIndex, checkPalettizedTensors, linearShape } from "../formats/check-tensors";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint";
import { view } from "../formats/dequantize";
import { f16ArrayToF32 } from "../formats/f16";
import { narrowPlane } from "../formats/narrow";
import { COLUMN_MULTIPLE, linearTensor, PALETTE_ROWS, padTo } from "../formats/palettized";
import { makeRotation } from "../formats/rotation";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { ModelConfig } from "./config";
import { expandLayers, expands, type PaletteLayer } from "./expand-weights";
import { type BlockWidths, fitWidths, wantedTensors } from "./fit-widths";
import { type BlockTensors, interleaveRows, packStack, paddedKept } from "./pack-blocks";
import { bytesPerToken, STACKS } from "./stacks";
import { type LoadOptions, UploadPace } from "./upload-pace";
import type { LayerParts, LayerWeights, LinearPart, ModelWeights } from "./weights";

type Upload = (bytes: Uint8Array) => void;

/**
 * A palettized checkpoint, tensors going up one at a time in file order.
 * @throws OchreError MODEL_FORMAT for tensors that do not fit the config or hold impossible values, GPU_MEMORY when the device
 * has no room; the signal's reason on abort.
 */
export async function loadPalettized(
  gpu: Gpu,
  config: ModelConfig,
  checkpoint: Checkpoint,
  options: LoadOptions = {},
): Promise<ModelWeights> {
  checkPalettizedTensors(config, checkpoint.tensors);
  const { averageBits } = options;
  const widths = averageBits === undefined ? undefined : await fitWidths(config, checkpoint, averageBits);
  const wanted = wantedTensors(widths);
  const uploads = new Map<string, Upload>();
  const finish: (() => void)[] = [];
  const before = gpu.bytes;
  const weights = await gpu.allocating(() => allocate(gpu, config, { tensors: checkpoint.tensors, widths }, uploads, finish));
  const pace = new UploadPace(
    gpu,
    Array.from(checkpoint.tensors.values()).filter(({ name }) => wanted(name)),
    options,
  );
  for await (const { info, bytes } of checkpoint.stream(wanted)) {
    uploads.get(info.name)?.(bytes);
    await pace.written(info.bytes);
    pace.tensorRead(info);
  }
  for (const upload of finish) upload();
  const layers = await codesForKernels(gpu, weights.layers);
  return { ...weights, layers, bytes: gpu.bytes - before, bytesPerToken: bytesPerToken({ layers, head: weights.head }) };
}

/** The file keeps codes in planes: as this device's kernels read them. */
async function codesForKernels(gpu: Gpu, layers: readonly PaletteLayer[]): Promise<LayerWeights[]> {
  if (expands(gpu, layers)) return expandLayers(gpu, layers);
  // What was to be int8 is too large to be expanded.
  if (gpu.tier.software) gpu.choose({ ...gpu.tier, int8: false });
  const program = await Program.record(gpu, (recorder) => {
    for (const linear of layers.flatMap((layer) => Object.values(layer))) packPairs(recorder, linear);
  });
  program.submit(gpu);
  return [...layers];
}

interface Stored {
  tensors: ReadonlyMap<string, TensorInfo>;
  /** By linear, where some are not to have all that is stored. */
  widths?: ReadonlyMap<string, BlockWidths>;
}

function allocate(
  gpu: Gpu,
  config: ModelConfig,
  stored: Stored,
  uploads: Map<string, Upload>,
  finish: (() => void)[],
): Omit<ModelWeights, "layers" | "bytes" | "bytesPerToken"> & { layers: PaletteLayer[]; parts: LayerParts[] } {
  const { tensors } = stored;
  const embedding = vocabularyTable(gpu, config, "model.embed_tokens", tensors, uploads);
  const head = config.tiedHead ? embedding : vocabularyTable(gpu, config, "lm_head", tensors, uploads);
  const norm = gpu.buffer("model.norm", 4 * config.D);
  uploads.set("model.norm.weight", (bytes) => gpu.write(norm, 0, bytes));
  const parts: LayerParts[] = [];
  const layers = Array.from({ length: config.L }, (_, layer) => {
    const ofLayer: LayerParts = { qkv_proj: [], o_proj: [], gate_up_proj: [], down_proj: [] };
    parts.push(ofLayer);
    const stack = (name: keyof LayerWeights) =>
      paletteStack(
        gpu,
        `layer ${layer} ${name}`,
        STACKS[name].map((linear) => ({
          name: linearTensor(layer, linear),
          shape: linearShape(config, linear),
        })),
        stored,
        uploads,
        finish,
        ofLayer[name],
      );
    return {
      qkv_proj: stack("qkv_proj"),
      o_proj: stack("o_proj"),
      gate_up_proj: stack("gate_up_proj"),
      down_proj: stack("down_proj"),
    };
  });
  const rotation = rotationBuffer(gpu, config);
  return { embedding, head, norm, layers, parts, rotation };
}

function vocabularyTable(
  gpu: Gpu,
  { V, D }: ModelConfig,
  name: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  uploads: Map<string, Upload>,
): VocabularyTable {
  const rows = padTo(V, 4);
  const table = gpu.buffer(name, rows * D);
  const rowScale = gpu.buffer(`${name} scales`, 4 * rows);
  for (let part = 0, offset = 0; tensors.has(`${name}.int8.${part}`); part++) {
    const at = offset;
    uploads.set(`${name}.int8.${part}`, (bytes) => gpu.write(table, at, bytes));
    offset += tensors.get(`${name}.int8.${part}`)!.bytes;
  }
  uploads.set(`${name}.row_scale`, (bytes) => {
    const halves = view(bytes, Uint16Array);
    checkFinite(`${name}.row_scale`, halves);
    gpu.write(rowScale, 0, f16ArrayToF32(halves));
  });
  return { table, rowScale, V, D, bytes: table.size + rowScale.size };
}

/** R1 as the kernels read it; a model that runs unrotated gets none. */
function rotationBuffer(gpu: Gpu, { quantization }: ModelConfig): RotationBuffer {
  const spec = quantization?.rotation.residual;
  if (!spec) return { buffer: gpu.buffer("rotation", 16), dct: 0, hadamard: 1 };
  const { cosines, signs, dct, hadamard } = makeRotation(spec);
  return { buffer: gpu.upload("rotation", Float32Array.of(...cosines, ...signs)), dct, hadamard };
}

interface StackPart {
  name: string;
  /** [rows, cols], unpadded. */
  shape: readonly [number, number];
}

function paletteStack(
  gpu: Gpu,
  label: string,
  parts: readonly StackPart[],
  { tensors, widths }: Stored,
  uploads: Map<string, Upload>,
  finish: (() => void)[],
  loaded: LinearPart[],
): PaletteWeights {
  const rows = parts.reduce((sum, { shape }) => sum + padTo(shape[0], PALETTE_ROWS), 0);
  const cols = padTo(parts[0].shape[1], COLUMN_MULTIPLE);
  const plane = (level: 0 | 1 | 2) => {
    const rowWords = level === 0 ? cols / 16 : cols / 32;
    const bytesOf = (name: string) => {
      const narrowed = level > 0 && widths?.get(name);
      if (!narrowed) return tensors.get(`${name}.plane${level}`)?.bytes ?? 0;
      return narrowed.bits.filter((width) => width >= 2 + level).length * PALETTE_ROWS * rowWords * 4;
    };
    const buffer = gpu.buffer(
      `${label} plane${level}`,
      parts.reduce((sum, { name }) => sum + bytesOf(name), 0),
    );
    let offset = 0;
    for (const { name } of parts) {
      const at = offset;
      const narrowed = widths?.get(name);
      uploads.set(`${name}.plane${level}`, (bytes) => {
        const words = view(bytes, Uint32Array);
        const needed = level === 0 || !narrowed ? words : narrowPlane(level, words, narrowed, rowWords);
        gpu.write(buffer, at, interleaveRows(needed, cols, level === 0 ? 2 : 1));
      });
      offset += bytesOf(name);
    }
    return buffer;
  };
  const [plane0, plane1, plane2] = [plane(0), plane(1), plane(2)];
  const kept = paddedKept(keptColumns(parts, tensors));
  const blocks = gpu.buffer(`${label} blocks`, 4 * ((rows / PALETTE_ROWS) * BLOCK_WORDS + keptWords(rows, kept)));
  const small = parts.map((part) => collectBlockTensors(part, tensors, uploads));
  finish.push(() => {
    const collected = small.map((collect) => collect());
    for (const [i, stored] of collected.entries()) {
      const { name } = parts[i];
      loaded.push({ name, stored, bits: widths?.get(name)?.bits ?? stored.bits });
    }
    gpu.write(blocks, 0, packStack(loaded));
  });
  return { rows, cols, plane0, plane1, plane2, blocks, kept, bytes: plane0.size + plane1.size + plane2.size + blocks.size };
}

/** Columns that a stack keeps. Only linears without a norm in front can, which are those that stand alone. */
function keptColumns(parts: readonly StackPart[], tensors: ReadonlyMap<string, TensorInfo>): number {
  const keeps = parts.find(({ name }) => tensors.has(`${name}.kept_index`));
  if (keeps && parts.length > 1) {
    throw new OchreError("MODEL_UNSUPPORTED", `[weights] only o_proj and down_proj may keep columns but ${keeps.name} does.`);
  }
  return keeps ? tensors.get(`${keeps.name}.kept_index`)!.shape[0] : 0;
}

/** Keeps one linear's bits, palettes, scales and kept columns as they arrive; the result hands them out, checked. */
function collectBlockTensors(
  { name, shape: [rows, cols] }: StackPart,
  tensors: ReadonlyMap<string, TensorInfo>,
  uploads: Map<string, Upload>,
): () => BlockTensors {
  const halves: Partial<Record<"palette4" | "palette3" | "palette2" | "row_scale" | "kept", Uint16Array>> = {};
  let allBits: Uint8Array;
  let index: Uint32Array | undefined;
  uploads.set(`${name}.bits`, (bytes) => {
    checkBits(name, bytes, tensors);
    allBits = bytes.slice();
  });
  for (const part of ["palette4", "palette3", "palette2", "row_scale", "kept"] as const) {
    uploads.set(`${name}.${part}`, (bytes) => {
      const values = view(bytes.slice(), Uint16Array);
      checkFinite(`${name}.${part}`, values);
      halves[part] = values;
    });
  }
  uploads.set(`${name}.kept_index`, (bytes) => {
    index = view(bytes.slice(), Uint32Array);
    checkKeptIndex(name, index, cols);
  });
  return () => {
    const { palette4, palette3, palette2, row_scale, kept: values } = halves;
    const kept = index && { index, values: values! };
    return { rows, bits: allBits, palette4, palette3, palette2, rowScale: row_scale!, kept };
  };
}
