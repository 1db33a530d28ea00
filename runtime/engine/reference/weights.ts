/** A checkpoint's weights as dense f32, whatever they were stored as. */
import { int8Matrix } from "../../../kernels/reference/expand-int8";
import { OchreError } from "../../errors";
import { checkFinite, checkKeptIndex, linearShape } from "../../formats/check-tensors";
import type { Checkpoint } from "../../formats/checkpoint";
import { view } from "../../formats/dequantize";
import { f16ArrayToF32, roundToF16 } from "../../formats/f16";
import { narrowLinear } from "../../formats/narrow";
import { LINEARS, type LinearName, linearTensor } from "../../formats/palettized";
import { addKept, dequantizeLinear, type KeptColumns } from "../../formats/palettized-linear";
import { makeRotation, type Rotation } from "../../formats/rotation";
import type { ModelConfig } from "../config";
import { widthsBeforehand } from "../fit-widths";
import type { WidthChoice } from "../width-choice";

export interface DenseLayer {
  /** [D], RMSNorm weights; absent where they are folded into the linears. */
  inputNorm?: Float32Array;
  postAttentionNorm?: Float32Array;
  /** [rows, cols] each. */
  linears: Record<LinearName, Float32Array>;
}

export interface DenseWeights {
  /** [V, D], in its own basis. */
  embedding: Float32Array;
  layers: DenseLayer[];
  /** [D], in the head's basis. */
  finalNorm: Float32Array;
  /** [V, D]; the embedding where the head is tied. */
  head: Float32Array;
  /** R1: the residual stream runs as x R1. */
  rotation?: Rotation;
}

export interface LoadWeightsOptions {
  /** Round every weight to the nearest f16, as a checkpoint saved in half precision would be. */
  roundToF16?: boolean;
  /** Round the linears' palettes to int8, or also what they read: what kernels do that multiply integers. Plain weights stay. */
  int8?: "weights" | "activations too";
  /** Leave away planes until the linears have so many bits a weight at most, as the GPU engine does. */
  averageBits?: number;
  /** Bits that linears may have at most, by name: as `setBits` has it. */
  bits?: WidthChoice;
  /** Layers read, of how many. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Reads everything. 4 bytes a weight: about half a gigabyte for 135 million.
 * @throws OchreError MODEL_FORMAT when a tensor is missing or has another size than the config says, INVALID_ARGUMENT for
 *   widths that cannot be.
 */
export async function loadDenseWeights(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { roundToF16: half = false, int8, averageBits, bits, onProgress }: LoadWeightsOptions = {},
): Promise<DenseWeights> {
  const widths = await widthsBeforehand(config, checkpoint, { averageBits, bits });
  const read = async (name: string, length: number) => {
    const values = await checkpoint.read(name);
    checkLength(name, values, length);
    return half ? values.map(roundToF16) : values;
  };
  const { quantization } = config;
  const readLinear = async (layer: number, linear: LinearName) => {
    const [rows, cols] = linearShape(config, linear);
    const name = linearTensor(layer, linear);
    if (!quantization) return read(`${name}.weight`, rows * cols);
    return readPalettized(checkpoint, name, { rows, cols, int8: int8 !== undefined, bits: widths.get(name) });
  };
  const readTable = (name: string) =>
    quantization ? readInt8Table(checkpoint, name, config.V, config.D) : read(`${name}.weight`, config.V * config.D);

  const embedding = await readTable("model.embed_tokens");
  const layers: DenseLayer[] = [];
  for (let i = 0; i < config.L; i++) {
    const linears = {} as Record<LinearName, Float32Array>;
    for (const linear of LINEARS) linears[linear] = await readLinear(i, linear);
    const layer: DenseLayer = { linears };
    if (!quantization) {
      layer.inputNorm = await read(`model.layers.${i}.input_layernorm.weight`, config.D);
      layer.postAttentionNorm = await read(`model.layers.${i}.post_attention_layernorm.weight`, config.D);
    }
    layers.push(layer);
    onProgress?.(i + 1, config.L);
  }
  return {
    embedding,
    layers,
    finalNorm: await read("model.norm.weight", config.D),
    head: config.tiedHead ? embedding : await readTable("lm_head"),
    rotation: quantization?.rotation.residual ? makeRotation(quantization.rotation.residual) : undefined,
  };
}

interface ReadOptions {
  rows: number;
  cols: number;
  int8: boolean;
  /** Of its blocks; default what is stored. */
  bits?: Uint8Array;
}

async function readPalettized(checkpoint: Checkpoint, name: string, { rows, cols, int8, bits }: ReadOptions) {
  const bytes = (part: string) => checkpoint.readBytes(`${name}.${part}`);
  const has = (part: string) => checkpoint.tensors.has(`${name}.${part}`);
  const words = async (part: string) => (has(part) ? view(await bytes(part), Uint32Array) : undefined);
  const halves = async (part: string) => (has(part) ? view(await bytes(part), Uint16Array) : undefined);
  const stored = {
    bits: await bytes("bits"),
    plane0: view(await bytes("plane0"), Uint32Array),
    plane1: await words("plane1"),
    plane2: await words("plane2"),
    palette4: await halves("palette4"),
    palette3: await halves("palette3"),
    palette2: await halves("palette2"),
    rowScale: view(await bytes("row_scale"), Uint16Array),
    kept: await readKept(checkpoint, name, cols),
  };
  const linear = narrowLinear(stored, bits ?? stored.bits, cols);
  if (!int8) return dequantizeLinear(linear, rows, cols);
  const { codes, scales } = int8Matrix({ ...linear, rows, cols });
  const weights = Float32Array.from(codes, (code, i) => code * scales[Math.floor(i / cols)]);
  if (linear.kept) addKept(weights, linear.kept, rows, cols);
  return weights;
}

async function readKept(checkpoint: Checkpoint, name: string, cols: number): Promise<KeptColumns | undefined> {
  if (!checkpoint.tensors.has(`${name}.kept_index`)) return undefined;
  const index = view(await checkpoint.readBytes(`${name}.kept_index`), Uint32Array);
  checkKeptIndex(name, index, cols);
  const values = view(await checkpoint.readBytes(`${name}.kept`), Uint16Array);
  checkFinite(`${name}.kept`, values);
  return { index, values };
}

/** An int8 table cut into parts by rows, times its row scales: [V, D]. */
async function readInt8Table(checkpoint: Checkpoint, name: string, V: number, D: number): Promise<Float32Array> {
  const scales = f16ArrayToF32(view(await checkpoint.readBytes(`${name}.row_scale`), Uint16Array));
  checkLength(`${name}.row_scale`, scales, V);
  const table = new Float32Array(V * D);
  for (let part = 0, row = 0; row < V; part++) {
    const codes = view(await checkpoint.readBytes(`${name}.int8.${part}`), Int8Array);
    for (let i = 0; i < codes.length; row++) for (let c = 0; c < D; c++) table[row * D + c] = codes[i++] * scales[row];
  }
  return table;
}

function checkLength(name: string, values: ArrayLike<number>, length: number): void {
  if (values.length !== length) {
    throw new OchreError(
      "MODEL_FORMAT",
      `[reference] ${name} must hold ${length} values but holds ${values.length}; is the checkpoint's config.json its own?`,
    );
  }
}
