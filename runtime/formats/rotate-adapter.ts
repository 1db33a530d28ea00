/**
 * An adapter is trained beside weights in their own basis. A reads a linear's input and B writes its output, so both take the
 * folds that the compiler gives the weight beside them (runtime/palettize/fold.ts), and the sum stays exact:
 *
 *   q, k, v, gate, up    A -> A diag(g) R1             g the weight of the RMSNorm in front
 *   v                    B -> (I kron R2)^T B
 *   o                    A -> A (I kron R2), B -> R1^T B
 *   down                 B -> R1^T B
 */
import type { ModelSizes } from "./check-tensors";
import { formatError } from "./json";
import { LINEARS, type LinearName, linearTensor } from "./palettized";
import type { AdapterWeights } from "./peft";
import { type Rotation, rotateVector } from "./rotation";

export interface AdapterRotations {
  /** R1, [D, D]; null where the residual runs in its own basis. */
  residual: Rotation | null;
  /** R2, [d, d]; null where the heads' values do. */
  head: Rotation | null;
}

/** RMSNorm weights [D] by tensor name, `model.layers.0.input_layernorm.weight`. */
export type NormWeights = ReadonlyMap<string, Float32Array>;

const NORM_BEFORE: Readonly<Partial<Record<LinearName, string>>> = {
  "self_attn.q_proj": "input_layernorm",
  "self_attn.k_proj": "input_layernorm",
  "self_attn.v_proj": "input_layernorm",
  "mlp.gate_proj": "post_attention_layernorm",
  "mlp.up_proj": "post_attention_layernorm",
};

/**
 * A copy of `adapter` for a model whose norms are folded and whose residual and heads are rotated; with `inverse`, of an adapter
 * made in that basis for the model as it was trained.
 * @throws OchreError MODEL_FORMAT where a norm's weight is missing.
 */
export function rotateAdapter(
  adapter: AdapterWeights,
  { L }: Pick<ModelSizes, "L">,
  norms: NormWeights,
  { residual, head }: AdapterRotations,
  inverse = false,
): AdapterWeights {
  const linears: AdapterWeights["linears"] = new Map();
  for (let layer = 0; layer < L; layer++)
    for (const linear of LINEARS) {
      const module = linearTensor(layer, linear);
      const low = adapter.linears.get(module);
      if (!low) continue;
      const { rank } = low;
      const a = low.a.slice();
      const b = low.b.slice();
      const norm = NORM_BEFORE[linear];
      if (norm) {
        const name = `model.layers.${layer}.${norm}.weight`;
        const g = norms.get(name);
        if (!g) throw formatError(adapter.name, `"${name}" is needed to carry it into this model's basis but is missing.`);
        if (!inverse) scaleColumns(a, g);
        if (residual) rotateRows(residual, a, inverse);
        if (inverse) scaleColumns(a, g, true);
      } else if (residual) rotateColumns(residual, b, rank, inverse);
      if (head && linear === "self_attn.o_proj") rotateRows(head, a, inverse);
      if (head && linear === "self_attn.v_proj") rotateColumns(head, b, rank, inverse);
      linears.set(module, { rank, a, b });
    }
  return { ...adapter, linears };
}

/** a diag(g), or a diag(1 / g); a column whose g is 0 is never read, and stays 0. */
function scaleColumns(a: Float32Array, g: Float32Array, inverse = false): void {
  for (let i = 0; i < a.length; ) {
    for (let c = 0; c < g.length; c++, i++) a[i] = inverse ? (g[c] === 0 ? 0 : a[i] / g[c]) : a[i] * g[c];
  }
}

/** Every run of `rotation.size` values of a row. */
function rotateRows(rotation: Rotation, a: Float32Array, inverse: boolean): void {
  for (let at = 0; at < a.length; at += rotation.size) rotateVector(rotation, a, at, 1, inverse);
}

/** Every run of `rotation.size` values of each of b's `rank` columns. */
function rotateColumns(rotation: Rotation, b: Float32Array, rank: number, inverse: boolean): void {
  for (let top = 0; top < b.length; top += rotation.size * rank)
    for (let k = 0; k < rank; k++) rotateVector(rotation, b, top + k, rank, inverse);
}
