/** W + scale B A, folded and rotated as a whole, must be what is left of W and the adapter after each went its own way. */
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../runtime/engine/config";
import { linearShape } from "../../runtime/formats/check-tensors";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import type { LowRank } from "../../runtime/formats/peft";
import { rotateAdapter } from "../../runtime/formats/rotate-adapter";
import { makeRotation, rotationSpec } from "../../runtime/formats/rotation";
import { foldLinear, normBefore } from "../../runtime/palettize/fold";
import { randomAdapter, uniforms } from "./peft-adapter";

const config = parseConfig({
  config: {
    model_type: "llama",
    ...{ hidden_size: 48, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, intermediate_size: 80 },
    ...{ vocab_size: 100, num_hidden_layers: 2 },
  },
});
const next = uniforms(11);
const norms = new Map(
  [0, 1].flatMap((layer) =>
    ["input_layernorm", "post_attention_layernorm"].map((norm) => [
      `model.layers.${layer}.${norm}.weight`,
      Float32Array.from({ length: config.D }, () => 0.5 + next()),
    ]),
  ),
);
const rotations = { residual: makeRotation(rotationSpec(config.D, 1)), head: makeRotation(rotationSpec(config.d, 2)) };
const adapter = randomAdapter(config, 12);

function product({ rank, a, b }: LowRank): Float32Array {
  const [rows, cols] = [b.length / rank, a.length / rank];
  return Float32Array.from({ length: rows * cols }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += b[Math.floor(i / cols) * rank + k] * a[k * cols + (i % cols)];
    return sum;
  });
}

const difference = (a: Float32Array, b: Float32Array) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

describe.each([
  { name: "both rotations", ...rotations },
  { name: "the residual's alone", residual: rotations.residual, head: null },
  { name: "the heads' alone", residual: null, head: rotations.head },
  { name: "folded norms alone", residual: null, head: null },
])("with $name", ({ residual, head }) => {
  const rotated = rotateAdapter(adapter, config, norms, { residual, head });

  it.each(LINEARS)("B A of %s is what folding makes of it", (linear) => {
    for (const layer of [0, 1]) {
      const module = linearTensor(layer, linear);
      const [rows, cols] = linearShape(config, linear);
      const norm = normBefore(linear) && norms.get(`model.layers.${layer}.${normBefore(linear)}.weight`)!;
      const folded = foldLinear(config, linear, product(adapter.linears.get(module)!), norm, { residual, head });
      const found = product(rotated.linears.get(module)!);
      expect(found.length).toBe(rows * cols);
      expect(difference(found, folded), module).toBeLessThan(1e-6);
    }
  });

  it("comes back by the inverse", () => {
    const back = rotateAdapter(rotated, config, norms, { residual, head }, true);
    for (const [module, { a, b }] of adapter.linears) {
      expect(difference(back.linears.get(module)!.a, a), module).toBeLessThan(1e-6);
      expect(difference(back.linears.get(module)!.b, b), module).toBeLessThan(1e-6);
    }
  });
});

it("leaves the adapter that it was given, and names a norm that is missing", () => {
  const before = adapter.linears.get("model.layers.0.self_attn.o_proj")!.a.slice();
  rotateAdapter(adapter, config, norms, rotations);
  expect(adapter.linears.get("model.layers.0.self_attn.o_proj")!.a).toEqual(before);
  expect(() => rotateAdapter(adapter, config, new Map(), rotations)).toThrow(/model\.layers\.0\.input_layernorm\.weight/);
});
