import { describe, expect, it } from "vitest";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { LINEARS, linearTensor } from "../../runtime/formats/palettized";
import { foldRotations } from "../../runtime/palettize/fold";
import { inputName, type LayerInputs, Probe, randomTokens } from "../../runtime/palettize/probe";
import type { LinearWeights } from "../../runtime/palettize/token-stream";
import { tinyCheckpoint, tinyConfig } from "./checkpoint";

const config = tinyConfig({ H: 4, G: 2, d: 8, D: 32, F: 48 });
const { checkpoint } = tinyCheckpoint(config, 3);
const UNROTATED = foldRotations({ residual: null, head: null });
const TOKENS = 20;

/** All of a layer's metrics. */
const settled = async (inputs: LayerInputs) => ({
  attention: await inputs.attention,
  o_proj: await inputs.o_proj,
  mlp: await inputs.mlp,
  down_proj: await inputs.down_proj,
});

async function probed(tokens = randomTokens(TOKENS, config.V, 1)) {
  const probe = new Probe(config, UNROTATED, await checkpoint.read("model.embed_tokens.weight"), tokens);
  const first = probe.x.slice();
  const inputs = [];
  for (let layer = 0; layer < config.L; layer++) {
    const linears = {} as LinearWeights;
    for (const linear of LINEARS) linears[linear] = await checkpoint.read(`${linearTensor(layer, linear)}.weight`);
    inputs.push(
      await settled(
        await probe.run({
          linears,
          norms: {
            input_layernorm: await checkpoint.read(`model.layers.${layer}.input_layernorm.weight`),
            post_attention_layernorm: await checkpoint.read(`model.layers.${layer}.post_attention_layernorm.weight`),
          },
        }),
      ),
    );
  }
  return { first, last: probe.x, inputs };
}

describe("Probe", () => {
  it("runs the layers as the reference model does", async () => {
    const { first, last } = await probed();
    const embedding = await checkpoint.read("model.embed_tokens.weight");
    const ids = Array.from({ length: TOKENS }, (_, t) =>
      Array.from({ length: config.V }, (_, id) => id).find((id) => embedding[id * config.D] === first[t * config.D]),
    ) as number[];
    expect(new Set(ids).size).toBeGreaterThan(5);
    const stages = new Map<string, Float32Array>();
    const reference = await ReferenceModel.load(checkpoint, config);
    const sequence = await reference.createSequence({ onStage: (name, x) => stages.set(name, x) });
    await sequence.prefill(ids);
    const expected = stages.get(`layer${config.L - 1}_out`)!;
    const actual = last.slice(-config.D);
    expected.forEach((value, c) => {
      expect(Math.abs(actual[c] - value)).toBeLessThan(1e-3 * (1 + Math.abs(value)));
    });
  });

  it("measures an input for each linear, of its width, the same every time", async () => {
    const { inputs } = await probed();
    const widths = LINEARS.map((linear) => inputs[1][inputName(linear)].columnWeights.length);
    expect(widths).toEqual([config.D, config.D, config.D, config.H * config.d, config.D, config.D, config.F]);
    expect((await probed()).inputs).toEqual(inputs);
  });

  it("with a rotation, measures what the rotated linears read: the total stays", async () => {
    const trace = (inputs: Awaited<ReturnType<typeof probed>>["inputs"]) =>
      inputs[0].attention.columnWeights.reduce((sum, weight) => sum + weight, 0);
    const { inputs } = await probed();
    expect(trace(inputs)).toBeCloseTo(config.D * 1.01, 3);
  });
});
