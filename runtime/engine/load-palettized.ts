/** A palettized checkpoint onto the GPU. Nothing of a weight stays in JavaScript's heap. */
import type { RotationBuffer, VocabularyTable } from "../../kernels/embed-rotate";
import { packPairs } from "../../kernels/pack-pairs";
import { BLOCK_WORDS, type PaletteWeights } from "../../kernels/palette-weights";
import { checkBits, checkFinite, checkPalettizedTensors, linearShape } from "../formats/check-tensors";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint";
import { view } from "../formats/dequantize";
import { f16ArrayToF32 } from "../formats/f16";
import { COLUMN_MULTIPLE, linearTensor, PALETTE_ROWS, padTo } from "../formats/palettized";
import { makeRotation } from "../formats/rotation";
import type { Gpu } from "../gpu/device";
import { Program } from "../gpu/program";
import type { ModelConfig } from "./config";
import { expandLayers, expands, type PaletteLayer } from "./expand-weights";
import { type BlockTensors, interleaveRows, packBlocks } from "./pack-blocks";
import { bytesPerToken, STACKS } from "./stacks";
import { type LoadOptions, UploadPace } from "./upload-pace";
import type { LayerWeights, ModelWeights } from "./weights";

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
  const uploads = new Map<string, Upload>();
  const finish: (() => void)[] = [];
  const before = gpu.bytes;
  const weights = await gpu.allocating(() => allocate(gpu, config, checkpoint.tensors, uploads, finish));
  const pace = new UploadPace(gpu, checkpoint.tensors.values(), options);
  for await (const { info, bytes } of checkpoint.stream()) {
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

function allocate(
  gpu: Gpu,
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  uploads: Map<string, Upload>,
  finish: (() => void)[],
): Omit<ModelWeights, "layers" | "bytes" | "bytesPerToken"> & { layers: PaletteLayer[] } {
  const embedding = vocabularyTable(gpu, config, "model.embed_tokens", tensors, uploads);
  const head = config.tiedHead ? embedding : vocabularyTable(gpu, config, "lm_head", tensors, uploads);
  const norm = gpu.buffer("model.norm", 4 * config.D);
  uploads.set("model.norm.weight", (bytes) => gpu.write(norm, 0, bytes));
  const layers = Array.from({ length: config.L }, (_, layer) => {
    const stack = (name: keyof LayerWeights) =>
      paletteStack(
        gpu,
        `layer ${layer} ${name}`,
        STACKS[name].map((linear) => ({
          name: linearTensor(layer, linear),
          shape: linearShape(config, linear),
        })),
        tensors,
        uploads,
        finish,
      );
    return {
      qkv_proj: stack("qkv_proj"),
      o_proj: stack("o_proj"),
      gate_up_proj: stack("gate_up_proj"),
      down_proj: stack("down_proj"),
    };
  });
  const rotation = rotationBuffer(gpu, config);
  return { embedding, head, norm, layers, rotation };
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
  tensors: ReadonlyMap<string, TensorInfo>,
  uploads: Map<string, Upload>,
  finish: (() => void)[],
): PaletteWeights {
  const rows = parts.reduce((sum, { shape }) => sum + padTo(shape[0], PALETTE_ROWS), 0);
  const cols = padTo(parts[0].shape[1], COLUMN_MULTIPLE);
  const bytesOf = (tensor: string) => tensors.get(tensor)?.bytes ?? 0;
  const plane = (suffix: string, words: number) => {
    const buffer = gpu.buffer(
      `${label} ${suffix}`,
      parts.reduce((sum, { name }) => sum + bytesOf(`${name}.${suffix}`), 0),
    );
    let offset = 0;
    for (const { name } of parts) {
      const at = offset;
      uploads.set(`${name}.${suffix}`, (bytes) => gpu.write(buffer, at, interleaveRows(view(bytes, Uint32Array), cols, words)));
      offset += bytesOf(`${name}.${suffix}`);
    }
    return buffer;
  };
  const [plane0, plane1, plane2] = [plane("plane0", 2), plane("plane1", 1), plane("plane2", 1)];
  const blocks = gpu.buffer(`${label} blocks`, (rows / PALETTE_ROWS) * BLOCK_WORDS * 4);
  const small = parts.map(({ name, shape }) => collectBlockTensors(name, shape[0], tensors, uploads));
  finish.push(() => gpu.write(blocks, 0, packBlocks(small.map((collect) => collect()))));
  return { rows, cols, plane0, plane1, plane2, blocks, bytes: plane0.size + plane1.size + plane2.size + blocks.size };
}

/** Keeps one linear's bits, palettes and scales as they arrive; the result hands them out, checked. */
function collectBlockTensors(
  name: string,
  rows: number,
  tensors: ReadonlyMap<string, TensorInfo>,
  uploads: Map<string, Upload>,
): () => BlockTensors {
  const kept: Partial<Record<"palette4" | "palette3" | "palette2" | "row_scale", Uint16Array>> & { bits?: Uint8Array } = {};
  uploads.set(`${name}.bits`, (bytes) => {
    checkBits(name, bytes, tensors);
    kept.bits = bytes.slice();
  });
  for (const part of ["palette4", "palette3", "palette2", "row_scale"] as const) {
    uploads.set(`${name}.${part}`, (bytes) => {
      const halves = view(bytes.slice(), Uint16Array);
      checkFinite(`${name}.${part}`, halves);
      kept[part] = halves;
    });
  }
  return () => ({ ...kept, rows, bits: kept.bits!, rowScale: kept.row_scale! });
}
