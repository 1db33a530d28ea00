import { describe, expect, it } from "vitest";
import { chooseBits } from "../../runtime/engine/width-choice";

const linears = [0, 1, 10].flatMap((layer) =>
  ["self_attn.q_proj", "mlp.down_proj"].map((name) => ({
    name: `model.layers.${layer}.${name}`,
    stored: { bits: name === "mlp.down_proj" ? Uint8Array.of(4, 3, 2) : Uint8Array.of(3, 2) },
  })),
);
const chosen = (choice: Record<string, number>) =>
  Object.fromEntries(Array.from(chooseBits(choice, linears), ([name, bits]) => [name.slice("model.layers.".length), [...bits]]));

describe("chooseBits", () => {
  it("takes whole names, ends of names behind a dot, and stars", () => {
    expect(chosen({ "model.layers.1.mlp.down_proj": 3 })).toEqual({ "1.mlp.down_proj": [3, 3, 2] });
    expect(Object.keys(chosen({ down_proj: 3 }))).toEqual(["0.mlp.down_proj", "1.mlp.down_proj", "10.mlp.down_proj"]);
    expect(Object.keys(chosen({ "layers.1.*": 2 }))).toEqual(["1.self_attn.q_proj", "1.mlp.down_proj"]);
    expect(Object.keys(chosen({ "0.mlp.down_proj": 2 }))).toEqual(["0.mlp.down_proj"]);
    expect(Object.keys(chosen({ "*": 2 }))).toHaveLength(6);
  });

  it("lets the last that fits count, and no block have more than is stored", () => {
    const bits = chosen({ "*": 2, "mlp.down_proj": 4, "layers.0.mlp.down_proj": 3 });
    expect(bits["0.mlp.down_proj"]).toEqual([3, 3, 2]);
    expect(bits["1.mlp.down_proj"]).toEqual([4, 3, 2]);
    expect(bits["1.self_attn.q_proj"]).toEqual([2, 2]);
  });

  it.each([
    [{ side_proj: 2 }, /must name a linear/],
    [{ own_proj: 2 }, /must name a linear/],
    [{ "mlp.down_proj": 1 }, /must be 2, 3 or 4/],
    [{ "mlp.down_proj": 2.5 }, /must be 2, 3 or 4/],
    [{ "mlp.down_proj": Number.NaN }, /must be 2, 3 or 4/],
    [{ "self_attn.q_proj": 4 }, /at most 3/],
    [{ "layers.(0|1).*": 2 }, /must name a linear/],
  ])("refuses %j", (choice, message) => {
    expect(() => chosen(choice as unknown as Record<string, number>)).toThrow(message);
  });

  it("says so where a model is not palettized", () => {
    expect(() => chooseBits({ "*": 3 }, [])).toThrow(/not palettized/);
  });
});
