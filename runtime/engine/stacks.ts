import type { LinearName } from "../formats/palettized";
import type { LayerWeights, ModelWeights } from "./weights";

/** What is stacked, in this order, each padded to whole blocks of 16 rows. */
export const STACKS: Record<keyof LayerWeights, readonly LinearName[]> = {
  qkv_proj: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  o_proj: ["self_attn.o_proj"],
  gate_up_proj: ["mlp.gate_proj", "mlp.up_proj"],
  down_proj: ["mlp.down_proj"],
};

/** `ModelWeights.bytesPerToken`. */
export function bytesPerToken({ layers, head }: Pick<ModelWeights, "layers" | "head">): number {
  return layers.flatMap((layer) => Object.values(layer)).reduce((sum: number, { bytes }) => sum + bytes, head.bytes);
}
