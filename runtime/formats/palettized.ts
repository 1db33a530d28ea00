/**
 * The palettized model directory: names, shapes and the `quantization_config` that describes them.
 * See docs in README ("The model format"). Tensors stand in safetensors shards under the checkpoint's own names:
 *
 *   NAME.plane0     U32 [rows, colsPadded / 16]   2 bits of every code, 16 codes a word, lowest bits first
 *   NAME.plane1     U32 [rows of blocks with >= 3 bits, colsPadded / 32]
 *   NAME.plane2     U32 [rows of blocks with 4 bits, colsPadded / 32]
 *   NAME.bits       U8  [blocks]                  2, 3 or 4 for each block of 16 rows
 *   NAME.palette4   F16 [blocks of 4 bits, 16]    sorted entries; absent where there is no such block
 *   NAME.palette3   F16 [blocks of 3 bits, 8]
 *   NAME.palette2   F16 [blocks of 2 bits, 4]
 *   NAME.row_scale  F16 [rows]
 *   NAME.kept       F16 [rows, n]                 what the codes of n input columns lack: added to what they stand for
 *   NAME.kept_index U32 [n]                       those columns, rising; both are absent where there are none
 *   model.embed_tokens.int8.K   I8  [rows of part K, D]   the table cut by rows so that a part fits a shard
 *   model.embed_tokens.row_scale F16 [V]
 *   lm_head.int8.K, lm_head.row_scale                     only where the head is not tied
 *   model.norm.weight           F32 [D]                   final norm
 *   model.layers.N.input_layernorm.weight, model.layers.N.post_attention_layernorm.weight
 *                               F32 [D]                   folded into the linears already: adapters need them; may be absent
 *
 * NAME is e.g. `model.layers.0.self_attn.q_proj`. A weight is palette[code] * row_scale, plus kept in the kept columns. Rows are
 * padded to whole blocks of 16 and cols to a multiple of 64 with code 0; the readers of padded columns see zero activations.
 * In an elastic model palette3 and palette2 also hold the palettes that wider blocks have at those widths, so that they have
 * a row for each block of that many bits or more.
 */
import type { RotationSpec } from "./rotation";

export const PALETTE_ROWS = 16;
export const COLUMN_MULTIPLE = 64;
export const SHARD_BYTES = 16 * 2 ** 20;
export const FORMAT_VERSION = 1;

/** `config.json`'s `quantization_config`. */
export interface PalettizedConfig {
  quant_method: "palettized";
  version: number;
  palette_rows: 16;
  /** Bits per weight of the linears, palettes and row scales counted. */
  average_bits: number;
  rotation: {
    /** R1, on the residual width; null where the model runs unrotated. */
    residual: RotationSpec | null;
    /** R2, on the head size inside v_proj and o_proj. */
    head: RotationSpec | null;
  };
  /**
   * Linear to what a unit of squared error of its weights costs, in any one unit: which planes to leave away first where memory
   * is short. Absent: the same everywhere.
   */
  sensitivities?: Record<string, number>;
  /** "data-free", or a description of the calibration text. */
  calibration: string;
  source: { name: string; revision?: string; sha256?: string };
  /** Folder of `adapters/` with the adapter that the model loads by itself, to win back what palettizing lost. */
  recovery?: string;
}

/** `model.safetensors.index.json`: Hugging Face's, with a size and a SHA-256 for each shard. */
export interface ShardIndex {
  metadata: { total_size: number };
  /** Tensor name to shard file name. */
  weight_map: Record<string, string>;
  /** In load order. */
  shards: { name: string; bytes: number; sha256: string }[];
}

/** The seven linears of a llama layer in the order in which they are stored. */
export const LINEARS = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
] as const;
export type LinearName = (typeof LINEARS)[number];

/** The norms of a layer. */
export const NORMS = ["input_layernorm", "post_attention_layernorm"] as const;
export type NormName = (typeof NORMS)[number];

export const linearTensor = (layer: number, linear: LinearName): string => `model.layers.${layer}.${linear}`;

export const normTensor = (layer: number, norm: NormName): string => `model.layers.${layer}.${norm}.weight`;

/** Columns that one linear may keep. */
export const MAX_KEPT = 64;

export const padTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** Bit of a plane1 or plane2 word that belongs to column `c` of its 32 (format: even and odd columns interleave, see README). */
export const planeBit = (c: number): number => 4 * ((c & 15) >> 1) + 2 * (c >> 4) + (c & 1);
