/**
 * Step 1 of the compiler: norm weights and rotations go into the linears, exactly. With x the residual and R1, R2
 * orthogonal (QuaRot, arXiv 2404.00456), as row vectors:
 *
 *   q, k, v, gate, up    W -> W diag(g) R1             the residual is kept as x R1, its RMS is that of x
 *   o, down              W -> R1^T W                   so they write into the rotated residual
 *   v                    W -> (I kron R2)^T W          rotates each kv head's values ...
 *   o                    W -> W (I kron R2)            ... and each query head's reading of them
 *
 * The embedding stays in its own basis: the engine rotates a looked-up row once, and un-rotates before the head.
 */
import type { ModelConfig } from "../engine/config";
import { linearShape } from "../formats/check-tensors";
import { formatError } from "../formats/json";
import type { LinearName, PalettizedConfig } from "../formats/palettized";
import { makeRotation, type Rotation, rotateVector, rotationSpec } from "../formats/rotation";

export interface FoldRotations {
  /** R1, [D, D]; null leaves the residual in its own basis. */
  residual: Rotation | null;
  /** R2, [d, d]; null leaves the heads' values in their own basis. */
  head: Rotation | null;
}

/** Those of a model that is compiled with this seed, as its `quantization_config` describes them. */
export const rotationsOf = ({ D, d }: Pick<ModelConfig, "D" | "d">, seed: number): PalettizedConfig["rotation"] => ({
  residual: rotationSpec(D, seed),
  head: rotationSpec(d, seed + 1),
});

/** The rotations that a `quantization_config` describes. */
export const foldRotations = ({ residual, head }: PalettizedConfig["rotation"]): FoldRotations => ({
  residual: residual && makeRotation(residual),
  head: head && makeRotation(head),
});

/** The RMSNorm whose output a linear reads, if it reads one: the tensor is `model.layers.I.NORM.weight`. */
export function normBefore(linear: LinearName): "input_layernorm" | "post_attention_layernorm" | null {
  switch (linear) {
    case "self_attn.q_proj":
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return "input_layernorm";
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return "post_attention_layernorm";
    default:
      return null;
  }
}

/**
 * Folds one linear in place and returns it.
 * @param weight [rows, cols] of `linearShape`, as the checkpoint has it.
 * @param norm [D], the weight of `normBefore(linear)`; null where the linear reads no norm.
 * @throws OchreError MODEL_FORMAT where weight or norm do not have the model's shape.
 */
export function foldLinear(
  config: ModelConfig,
  linear: LinearName,
  weight: Float32Array,
  norm: Float32Array | null,
  { residual, head }: FoldRotations,
): Float32Array {
  const [rows, cols] = linearShape(config, linear);
  checkLength(`${linear}.weight`, weight, rows * cols);
  if (normBefore(linear)) {
    checkLength(`${normBefore(linear)}.weight`, norm, cols);
    for (let i = 0; i < weight.length; ) for (let c = 0; c < cols; c++, i++) weight[i] *= norm![c];
    if (residual) rotateRows(residual, weight);
  }
  if (head && linear === "self_attn.o_proj") rotateRows(head, weight);
  if (head && linear === "self_attn.v_proj") rotateColumns(head, weight, rows, cols);
  if (residual && !normBefore(linear)) rotateColumns(residual, weight, rows, cols);
  return weight;
}

/** Every run of `rotation.size` consecutive values: whole rows for R1, the heads' segments of a row for R2. */
function rotateRows(rotation: Rotation, weight: Float32Array): void {
  for (let at = 0; at < weight.length; at += rotation.size) rotateVector(rotation, weight, at);
}

const PANEL_COLUMNS = 16;

/**
 * Every column, cut into runs of `rotation.size` rows. Columns are transposed through a panel, since a stride of a whole row
 * would fetch a cache line for each value.
 */
function rotateColumns(rotation: Rotation, weight: Float32Array, rows: number, cols: number): void {
  const { size } = rotation;
  const panel = new Float32Array(PANEL_COLUMNS * size);
  for (let top = 0; top < rows; top += size) {
    for (let left = 0; left < cols; left += PANEL_COLUMNS) {
      const width = Math.min(PANEL_COLUMNS, cols - left);
      for (let r = 0; r < size; r++) {
        const at = (top + r) * cols + left;
        for (let c = 0; c < width; c++) panel[c * size + r] = weight[at + c];
      }
      for (let c = 0; c < width; c++) rotateVector(rotation, panel, c * size);
      for (let r = 0; r < size; r++) {
        const at = (top + r) * cols + left;
        for (let c = 0; c < width; c++) weight[at + c] = panel[c * size + r];
      }
    }
  }
}

function checkLength(name: string, values: Float32Array | null, length: number): void {
  if (values?.length === length) return;
  throw formatError(
    "palettize",
    `${name} must hold ${length} values but holds ${values?.length ?? 0}. Check it against config.json.`,
  );
}
