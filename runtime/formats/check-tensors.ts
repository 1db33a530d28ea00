/** That a checkpoint holds what its configuration promises: every tensor, in exactly the shape that the sizes imply. */
import type { DType, TensorInfo } from "./checkpoint";
import { GGUF_TYPES } from "./dequantize";
import { formatError } from "./json";
import {
  COLUMN_MULTIPLE,
  LINEARS,
  type LinearName,
  linearTensor,
  MAX_KEPT,
  NORMS,
  normTensor,
  PALETTE_ROWS,
  padTo,
} from "./palettized";

/** The sizes that decide shapes; a ModelConfig is one. */
export interface ModelSizes {
  L: number;
  D: number;
  H: number;
  G: number;
  d: number;
  F: number;
  V: number;
  tiedHead: boolean;
}

type Tensors = ReadonlyMap<string, TensorInfo>;

const WHO = "checkpoint";
/** Element types that a plain checkpoint's weights may have. */
const WEIGHTS: readonly DType[] = ["F64", ...GGUF_TYPES];

/** [rows, cols] of one linear, rows = outputs. */
export function linearShape({ D, H, G, d, F }: ModelSizes, linear: LinearName): [number, number] {
  switch (linear) {
    case "self_attn.q_proj":
      return [H * d, D];
    case "self_attn.k_proj":
    case "self_attn.v_proj":
      return [G * d, D];
    case "self_attn.o_proj":
      return [D, H * d];
    case "mlp.gate_proj":
    case "mlp.up_proj":
      return [F, D];
    case "mlp.down_proj":
      return [D, F];
  }
}

/** A plain llama checkpoint. Throws MODEL_FORMAT with the name, the shape expected and the one found. */
export function checkPlainTensors(sizes: ModelSizes, tensors: Tensors): void {
  const { L, D, V, tiedHead } = sizes;
  expectTensor(tensors, "model.embed_tokens.weight", WEIGHTS, [V, D]);
  for (let layer = 0; layer < L; layer++) {
    for (const norm of NORMS) expectTensor(tensors, normTensor(layer, norm), WEIGHTS, [D]);
    for (const linear of LINEARS)
      expectTensor(tensors, `${linearTensor(layer, linear)}.weight`, WEIGHTS, linearShape(sizes, linear));
  }
  expectTensor(tensors, "model.norm.weight", WEIGHTS, [D]);
  if (!tiedHead) expectTensor(tensors, "lm_head.weight", WEIGHTS, [V, D]);
}

/**
 * A palettized checkpoint (the list in palettized.ts). How many blocks have 2, 3 or 4 bits is read off the palettes;
 * planes must agree, and `checkBits` says whether the bits themselves do. Throws MODEL_FORMAT as checkPlainTensors does.
 */
export function checkPalettizedTensors(sizes: ModelSizes, tensors: Tensors): void {
  checkTable(tensors, "model.embed_tokens", sizes);
  for (let layer = 0; layer < sizes.L; layer++) {
    for (const linear of LINEARS) checkLinear(tensors, linearTensor(layer, linear), linearShape(sizes, linear));
    for (const norm of NORMS) {
      const name = normTensor(layer, norm);
      if (tensors.has(name)) expectTensor(tensors, name, ["F32"], [sizes.D]);
    }
  }
  expectTensor(tensors, "model.norm.weight", ["F32"], [sizes.D]);
  if (!sizes.tiedHead) checkTable(tensors, "lm_head", sizes);
}

function checkTable(tensors: Tensors, name: string, { V, D }: ModelSizes): void {
  expectTensor(tensors, `${name}.row_scale`, ["F16"], [V]);
  let rows = 0;
  for (let part = 0; rows < V; part++) {
    const partName = `${name}.int8.${part}`;
    const partRows = tensors.get(partName)?.shape[0];
    if (partRows === undefined || partRows === 0 || rows + partRows > V)
      throw formatError(
        WHO,
        `"${partName}" must hold some of the ${V - rows} rows still missing but holds ${partRows ?? "none"}.`,
      );
    expectTensor(tensors, partName, ["I8"], [partRows, D]);
    rows += partRows;
  }
}

/**
 * How many of a linear's blocks have 2, 3 and 4 bits, at the index of the width, as its palettes tell: one for each block, or in an
 * elastic model one for each width that a block has or contains.
 */
export function blockCounts(tensors: Tensors, name: string, blocks: number): readonly number[] {
  const [four, three, two] = [4, 3, 2].map((width) => tensors.get(`${name}.palette${width}`)?.shape[0] ?? 0);
  const elastic = two === blocks && three + four > 0;
  return elastic ? [0, 0, blocks - three, three - four, four] : [0, 0, two, three, four];
}

function checkLinear(tensors: Tensors, name: string, [rows, cols]: [number, number]): void {
  const blocks = Math.ceil(rows / PALETTE_ROWS);
  const colsPadded = padTo(cols, COLUMN_MULTIPLE);
  const palettes = (width: number) => tensors.get(`${name}.palette${width}`)?.shape[0] ?? 0;
  const counts = blockCounts(tensors, name, blocks);
  const wide = (width: number) => counts[width];
  if (wide(2) + wide(3) + wide(4) !== blocks || counts.some((count) => count < 0))
    throw formatError(
      WHO,
      `"${name}" must have ${blocks} palettes in all, one for 16 rows, but has ${palettes(4)} of 4 bits, ${palettes(3)} of 3 and ${palettes(2)} of 2.`,
      { tensor: name },
    );
  expectTensor(tensors, `${name}.bits`, ["U8"], [blocks]);
  expectTensor(tensors, `${name}.row_scale`, ["F16"], [blocks * PALETTE_ROWS]);
  expectTensor(tensors, `${name}.plane0`, ["U32"], [blocks * PALETTE_ROWS, colsPadded / 16]);
  const optional = (suffix: string, dtype: DType, count: number, cells: number) => {
    if (count > 0 || tensors.has(`${name}.${suffix}`)) expectTensor(tensors, `${name}.${suffix}`, [dtype], [count, cells]);
  };
  optional("plane1", "U32", (wide(3) + wide(4)) * PALETTE_ROWS, colsPadded / 32);
  optional("plane2", "U32", wide(4) * PALETTE_ROWS, colsPadded / 32);
  for (const width of [4, 3, 2]) optional(`palette${width}`, "F16", palettes(width), 2 ** width);
  const kept = tensors.get(`${name}.kept_index`)?.shape[0] ?? tensors.get(`${name}.kept`)?.shape[1];
  if (kept === undefined) return;
  if (kept < 1 || kept > Math.min(MAX_KEPT, cols))
    throw formatError(WHO, `"${name}" may keep 1 to ${Math.min(MAX_KEPT, cols)} columns but keeps ${kept}.`, { tensor: name });
  expectTensor(tensors, `${name}.kept_index`, ["U32"], [kept]);
  expectTensor(tensors, `${name}.kept`, ["F16"], [rows, kept]);
}

/** `NAME.bits` of a linear that passed checkPalettizedTensors: 2, 3 or 4, and as many of each as there are palettes. */
export function checkBits(name: string, bits: Uint8Array, tensors: Tensors): void {
  const counts = [0, 0, 0, 0, 0];
  for (const width of bits) {
    if (width < 2 || width > 4) throw formatError(WHO, `"${name}.bits" must hold 2, 3 and 4 only but holds ${width}.`);
    counts[width]++;
  }
  const palettes = blockCounts(tensors, name, bits.length);
  for (const width of [4, 3, 2]) {
    if (palettes[width] !== counts[width])
      throw formatError(
        WHO,
        `"${name}.bits" gives ${counts[width]} blocks ${width} bits but "${name}.palette${width}" holds palettes of ${palettes[width]}.`,
      );
  }
}

/** `NAME.kept_index` of a linear with `cols` columns: rising and in range. Throws MODEL_FORMAT. */
export function checkKeptIndex(name: string, index: Uint32Array, cols: number): void {
  index.forEach((column, i) => {
    if (column < cols && (i === 0 || column > index[i - 1])) return;
    throw formatError(WHO, `"${name}.kept_index" must rise and stay below ${cols} but entry ${i} is ${column}.`, {
      tensor: `${name}.kept_index`,
      entry: i,
    });
  });
}

/** Throws MODEL_FORMAT where a value is infinite or not a number: weights as f32, or scales and palette entries as f16 bits. */
export function checkFinite(name: string, values: Float32Array | Uint16Array): void {
  const halves = values instanceof Uint16Array;
  for (let i = 0; i < values.length; i++)
    if (halves ? (values[i] & 0x7c00) === 0x7c00 : !Number.isFinite(values[i]))
      throw formatError(
        WHO,
        `"${name}" must be finite but entry ${i} is not. The file is damaged or was made from a damaged model.`,
        {
          tensor: name,
          entry: i,
        },
      );
}

function expectTensor(tensors: Tensors, name: string, dtypes: readonly DType[], shape: readonly number[]): void {
  const found = tensors.get(name);
  const wanted = `${dtypes.length > 1 ? "" : `${dtypes[0]} `}[${shape.join(", ")}]`;
  if (!found) throw formatError(WHO, `"${name}" ${wanted} is missing.`, { tensor: name, expected: [...shape] });
  const same = found.shape.length === shape.length && found.shape.every((n, i) => n === shape[i]);
  if (!same || !dtypes.includes(found.dtype))
    throw formatError(WHO, `"${name}" must be ${wanted} but is ${found.dtype} [${found.shape.join(", ")}].`, {
      tensor: name,
      expected: [...shape],
      actual: [...found.shape],
    });
}
