import { describe, expect, it } from "vitest";
import { OchreError } from "../../runtime/errors";
import { linearShape } from "../../runtime/formats/check-tensors";
import { LINEARS, type LinearName } from "../../runtime/formats/palettized";
import { makeRotation, rotateVector, rotationSpec } from "../../runtime/formats/rotation";
import { foldLinear, normBefore } from "../../runtime/palettize/fold";
import { tinyConfig } from "./checkpoint";
import { makeRandom } from "./random";

const config = tinyConfig({ D: 24, H: 4, G: 2, d: 6, F: 40 });
const residual = makeRotation(rotationSpec(config.D, 1));
const head = makeRotation(rotationSpec(config.d, 2));

/** y = W x, in f64. */
function apply(weight: Float32Array, x: number[]): number[] {
  const cols = x.length;
  return Array.from({ length: weight.length / cols }, (_, r) =>
    x.reduce((sum, value, c) => sum + weight[r * cols + c] * value, 0),
  );
}

/** Each run of the rotation's size, rotated. */
function rotated(x: number[], rotation = residual): number[] {
  const y = Float64Array.from(x);
  for (let at = 0; at < y.length; at += rotation.size) rotateVector(rotation, y, at);
  return [...y];
}

describe("foldLinear", () => {
  it.each(LINEARS)("%s: the folded weight on the folded input is the folded output", (linear: LinearName) => {
    const random = makeRandom(3);
    const [rows, cols] = linearShape(config, linear);
    const weight = random.normals(rows * cols);
    const x = [...random.normals(cols)];
    const norm = normBefore(linear) ? random.normals(cols) : null;
    const folded = foldLinear(config, linear, weight.slice(), norm, { residual, head });

    const input = norm ? rotated(x) : linear === "self_attn.o_proj" ? rotated(x, head) : x;
    const y = apply(weight, norm ? x.map((value, c) => value * norm[c]) : x);
    const output = linear === "self_attn.v_proj" ? rotated(y, head) : norm ? y : rotated(y);
    apply(folded, input).forEach((value, r) => {
      expect(value).toBeCloseTo(output[r], 4);
    });
  });

  it("attention through rotated values and o_proj is attention, rotated as the residual is", () => {
    const random = makeRandom(4);
    const { D, H, G, d } = config;
    const v = random.normals(G * d * D);
    const o = random.normals(D * H * d);
    const norm = random.normals(D);
    const tokens = Array.from({ length: 3 }, () => [...random.normals(D)]);
    const mix = Array.from({ length: H }, () => tokens.map(() => random.uniform()));
    const attend = (vWeight: Float32Array, oWeight: Float32Array, inputs: number[][]) => {
      const values = inputs.map((x) => apply(vWeight, x));
      const heads = Array.from({ length: H * d }, (_, i) => {
        const h = Math.floor(i / d);
        return values.reduce((sum, value, t) => sum + mix[h][t] * value[Math.floor((h * G) / H) * d + (i % d)], 0);
      });
      return apply(oWeight, heads);
    };
    const plain = attend(
      v,
      o,
      tokens.map((x) => x.map((value, c) => value * norm[c])),
    );
    const folded = attend(
      foldLinear(config, "self_attn.v_proj", v.slice(), norm, { residual, head }),
      foldLinear(config, "self_attn.o_proj", o.slice(), null, { residual, head }),
      tokens.map((x) => rotated(x)),
    );
    rotated(plain).forEach((value, i) => {
      expect(folded[i]).toBeCloseTo(value, 3);
    });
  });

  it("without rotations only the norm is folded", () => {
    const random = makeRandom(5);
    const norm = random.normals(config.D);
    for (const linear of LINEARS) {
      const [rows, cols] = linearShape(config, linear);
      const weight = random.normals(rows * cols);
      const folded = foldLinear(config, linear, weight.slice(), normBefore(linear) && norm, { residual: null, head: null });
      expect(folded).toEqual(normBefore(linear) ? weight.map((value, i) => value * norm[i % cols]) : weight);
    }
  });

  it("refuses a weight or a norm of another shape", () => {
    const fold = (length: number, norm: number) =>
      foldLinear(config, "mlp.up_proj", new Float32Array(length), new Float32Array(norm), { residual, head });
    expect(() => fold(40 * 24, 24)).not.toThrow();
    expect(() => fold(40 * 24 - 1, 24)).toThrow(OchreError);
    expect(() => fold(40 * 24, 23)).toThrow("post_attention_layernorm.weight must hold 24 values but holds 23");
  });
});
