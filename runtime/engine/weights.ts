/** A model's weights on the GPU: palettized as the compiler left them (in int8 on software adapters), or plain in f32. */
import type { DenseMatrix } from "../../kernels/dense-matrix";
import type { RotationBuffer, VocabularyTable } from "../../kernels/embed-rotate";
import type { Int8Weights } from "../../kernels/int8-weights";
import type { PaletteWeights } from "../../kernels/palette-weights";
import { OchreError } from "../errors";
import type { Checkpoint } from "../formats/checkpoint";
import type { Gpu } from "../gpu/device";
import type { ModelConfig } from "./config";
import { checkPalettized } from "./fit-widths";
import { loadDense } from "./load-dense";
import { loadPalettized } from "./load-palettized";
import type { BlockTensors } from "./pack-blocks";
import type { LoadOptions } from "./upload-pace";

export type LinearWeights = PaletteWeights | Int8Weights | DenseMatrix;
/** [V padded to 4, D], in its own basis. */
export type TableWeights = VocabularyTable | DenseMatrix;

/** RMSNorm weights are folded into the linears that read them; linears that share an input are stacked by rows. */
export interface LayerWeights {
  /** q_proj, k_proj and v_proj stacked. */
  qkv_proj: LinearWeights;
  o_proj: LinearWeights;
  /** gate_proj and up_proj stacked. */
  gate_up_proj: LinearWeights;
  down_proj: LinearWeights;
}

/** One linear of a stack, by blocks of 16 rows: as it is stored, and the widths that its blocks have now. */
export interface LinearPart {
  /** As `linearTensor` names it. */
  name: string;
  stored: BlockTensors;
  /** [blocks], each at most what is stored. */
  bits: Uint8Array;
}

/** What each stack of a layer is made of, in order. */
export type LayerParts = Record<keyof LayerWeights, LinearPart[]>;

export interface ModelWeights {
  embedding: TableWeights;
  /** The embedding itself where the head is tied. */
  head: TableWeights;
  /** R1. */
  rotation: RotationBuffer;
  /** f32 [D], the final norm. */
  norm: GPUBuffer;
  layers: LayerWeights[];
  /** By layer; absent where the weights are plain. */
  parts?: LayerParts[];
  /** All of it on the GPU. */
  bytes: number;
  /** What one decoded token reads: every linear and the head. */
  bytesPerToken: number;
}

/**
 * A checkpoint's weights onto the GPU: palettized ones as they are, plain ones in f32.
 * @throws OchreError MODEL_FORMAT for tensors that do not fit the config or hold impossible values, MODEL_UNSUPPORTED for widths
 * that the kernels cannot compute, INVALID_ARGUMENT for an averageBits that cannot be reached, GPU_MEMORY when the device has no room; the signal's reason on abort.
 */
export async function loadWeights(
  gpu: Gpu,
  config: ModelConfig,
  checkpoint: Checkpoint,
  options: LoadOptions = {},
): Promise<ModelWeights> {
  if (config.D % 16 !== 0) {
    throw new OchreError("MODEL_UNSUPPORTED", `[weights] hidden_size must be a multiple of 16 but is ${config.D}.`);
  }
  if (options.averageBits !== undefined) checkPalettized(config);
  return (config.quantization ? loadPalettized : loadDense)(gpu, config, checkpoint, options);
}
