/** A plain checkpoint onto the GPU, in f32 whatever it was stored as: four bytes a weight, one tensor at a time on the way. */
import type { DenseMatrix } from "../../kernels/dense-matrix";
import { checkFinite, checkPlainTensors, linearShape } from "../formats/check-tensors";
import type { Checkpoint } from "../formats/checkpoint";
import { COLUMN_MULTIPLE, linearTensor, PALETTE_ROWS, padTo } from "../formats/palettized";
import type { Gpu } from "../gpu/device";
import type { ModelConfig } from "./config";
import { bytesPerToken, STACKS } from "./stacks";
import { type LoadOptions, UploadPace } from "./upload-pace";
import type { LayerWeights, ModelWeights } from "./weights";

/** The RMSNorm in front of a stack. Its weights g go into the stack, W diag(g), which leaves the kernels a scalar. */
const NORMS: Record<keyof LayerWeights, string | undefined> = {
  qkv_proj: "input_layernorm",
  o_proj: undefined,
  gate_up_proj: "post_attention_layernorm",
  down_proj: undefined,
};

/** What is padded and written at once. */
const PIECE_BYTES = 16 * 2 ** 20;

/** One tensor of the checkpoint, and where it goes. */
interface Placement {
  tensor: string;
  /** [rows, cols]. */
  shape: readonly [number, number];
  buffer: GPUBuffer;
  /** Row of the buffer at which the tensor's rows begin. */
  firstRow: number;
  /** Floats from row to row of the buffer. */
  stride: number;
  /** Tensor [cols] that multiplies every row. */
  norm?: string;
}

/**
 * @throws OchreError MODEL_FORMAT for tensors that do not fit the config or hold values that are not finite, GPU_MEMORY when the
 * device has no room or allows no buffer of the size of a tensor; the signal's reason on abort.
 */
export async function loadDense(
  gpu: Gpu,
  config: ModelConfig,
  checkpoint: Checkpoint,
  options: LoadOptions = {},
): Promise<ModelWeights> {
  checkPlainTensors(config, checkpoint.tensors);
  const placements: Placement[] = [];
  const before = gpu.bytes;
  const weights = await gpu.allocating(() => allocate(gpu, config, placements));
  const infos = placements.map(({ tensor }) => checkpoint.tensors.get(tensor)!);
  const pace = new UploadPace(gpu, infos, options);
  for (const [i, placement] of placements.entries()) {
    const norm = placement.norm ? await read(checkpoint, placement.norm) : undefined;
    const tensor = await read(checkpoint, placement.tensor);
    for (const { row, values } of pieces(placement, tensor, norm)) {
      gpu.write(placement.buffer, 4 * row * placement.stride, values);
      await pace.written(values.byteLength);
    }
    pace.tensorRead(infos[i]);
  }
  return { ...weights, bytes: gpu.bytes - before };
}

/** Every buffer, zeroed, and in `placements` what is to come into it. */
function allocate(gpu: Gpu, config: ModelConfig, placements: Placement[]): Omit<ModelWeights, "bytes"> {
  const { V, D, L, tiedHead } = config;
  const matrix = (
    label: string,
    parts: readonly Pick<Placement, "tensor" | "shape">[],
    { rowMultiple, stride, norm }: { rowMultiple: number; stride: number; norm?: string },
  ): DenseMatrix => {
    const rows = parts.reduce((sum, { shape }) => sum + padTo(shape[0], rowMultiple), 0);
    const buffer = gpu.buffer(label, 4 * rows * stride);
    let firstRow = 0;
    for (const part of parts) {
      placements.push({ ...part, buffer, firstRow, stride, norm });
      firstRow += padTo(part.shape[0], rowMultiple);
    }
    return { rows, cols: stride, weights: buffer, bytes: buffer.size };
  };
  const table = (name: string) => matrix(name, [{ tensor: `${name}.weight`, shape: [V, D] }], { rowMultiple: 4, stride: D });
  const stack = (layer: number, name: keyof LayerWeights) =>
    matrix(
      `layer ${layer} ${name}`,
      STACKS[name].map((linear) => ({
        tensor: `${linearTensor(layer, linear)}.weight`,
        shape: linearShape(config, linear),
      })),
      {
        rowMultiple: PALETTE_ROWS,
        stride: padTo(linearShape(config, STACKS[name][0])[1], COLUMN_MULTIPLE),
        norm: NORMS[name] && `model.layers.${layer}.${NORMS[name]}.weight`,
      },
    );

  const embedding = table("model.embed_tokens");
  const layers = Array.from({ length: L }, (_, layer) => ({
    qkv_proj: stack(layer, "qkv_proj"),
    o_proj: stack(layer, "o_proj"),
    gate_up_proj: stack(layer, "gate_up_proj"),
    down_proj: stack(layer, "down_proj"),
  }));
  const norm = gpu.buffer("model.norm", 4 * D);
  placements.push({ tensor: "model.norm.weight", shape: [1, D], buffer: norm, firstRow: 0, stride: D });
  const head = tiedHead ? embedding : table("lm_head");
  const rotation = { buffer: gpu.buffer("rotation", 16), dct: 0, hadamard: 1 };
  return { embedding, head, norm, layers, rotation, bytesPerToken: bytesPerToken({ layers, head }) };
}

async function read(checkpoint: Checkpoint, tensor: string): Promise<Float32Array> {
  const values = await checkpoint.read(tensor);
  checkFinite(tensor, values);
  return values;
}

/** Rows as the buffer holds them: columns padded with zeros and multiplied by the norm, a few megabytes at a time. */
function* pieces({ shape: [rows, cols], firstRow, stride }: Placement, tensor: Float32Array, norm?: Float32Array) {
  const most = Math.max(1, Math.floor(PIECE_BYTES / (4 * stride)));
  for (let from = 0; from < rows; from += most) {
    const count = Math.min(most, rows - from);
    const values = new Float32Array(count * stride);
    for (let r = 0; r < count; r++) {
      for (let c = 0; c < cols; c++) {
        const weight = tensor[(from + r) * cols + c];
        values[r * stride + c] = norm ? weight * norm[c] : weight;
      }
    }
    yield { row: firstRow + from, values };
  }
}
