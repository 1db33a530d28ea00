/** A model whose down_proj keeps columns: the GPU engine against the reference, in every kind of linear; nothing costs a dispatch. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { normals } from "../../runtime/engine/self-test/data";
import { linearShape } from "../../runtime/formats/check-tensors";
import type { Checkpoint } from "../../runtime/formats/checkpoint";
import { f32ArrayToF16 } from "../../runtime/formats/f16";
import { type LinearName, linearTensor } from "../../runtime/formats/palettized";
import { klDivergence } from "./compare";
import { type TinyModel, tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 90 }, (_, i) => (i * 73 + 11) % 512);

/** The model with random kept columns added to one linear of each layer, last in the file. */
function keeping({ config, checkpoint }: TinyModel, linear: LinearName, n: number): TinyModel {
  const tensors = new Map(checkpoint.tensors);
  const added = new Map<string, Uint8Array>();
  const [rows, cols] = linearShape(config, linear);
  for (let layer = 0; layer < config.L; layer++) {
    const add = (part: string, dtype: "U32" | "F16", shape: number[], bytes: Uint8Array) => {
      const name = `${linearTensor(layer, linear)}.${part}`;
      tensors.set(name, { name, dtype, shape, bytes: bytes.length });
      added.set(name, bytes);
    };
    const index = Uint32Array.from({ length: n }, (_, j) => Math.floor(((j + 1) * cols) / n) - 1);
    const values = f32ArrayToF16(normals(rows * n, layer, 0.3));
    add("kept_index", "U32", [n], new Uint8Array(index.buffer));
    add("kept", "F16", [rows, n], new Uint8Array(values.buffer));
  }
  const kept: Checkpoint = {
    ...checkpoint,
    tensors,
    readBytes: async (name) => added.get(name) ?? checkpoint.readBytes(name),
    async *stream() {
      yield* checkpoint.stream();
      for (const [name, bytes] of added) yield { info: tensors.get(name)!, bytes };
    },
  };
  return { config, checkpoint: kept };
}

describe.each([
  { software: true, int8: false, gate: 1e-4, decodeGate: 1e-4 },
  { software: true, int8: true, gate: 1e-4, decodeGate: 0.1 },
  { software: false, int8: false, gate: 1e-4, decodeGate: 1e-4 },
  { software: false, int8: true, gate: 1e-2, decodeGate: 1e-2 },
])("8 columns of down_proj kept, software mapping $software, int8 $int8", ({ software, int8, gate, decodeGate }) => {
  let plain: TinyModel;
  let reference: ReferenceModel;
  let engine: Engine;
  beforeAll(async () => {
    plain = await tinyModel("llama");
    const kept = keeping(plain, "mlp.down_proj", 8);
    reference = await ReferenceModel.load(kept.checkpoint, kept.config, {
      int8: int8 ? (software ? "weights" : "activations too") : undefined,
    });
    const gpu = await requestNodeGpu();
    engine = await Engine.create({ gpu, ...kept, choice: { software, int8 }, disabledFeatures: ["shader-f16"] });
  });
  afterAll(() => engine.dispose());

  it("prefills and decodes like the reference, in as many dispatches as without", async () => {
    const sequence = await engine.createSequence({ contextTokens: 128 });
    expect(sequence.dispatchesPerLayer).toBeLessThanOrEqual(7);
    const cpu = await reference.createSequence({ contextTokens: 128, kv: { k: 8, v: 8 } });
    await cpu.prefill(IDS);
    const expected = await cpu.logits();
    await sequence.prefill(IDS);
    const whole = await sequence.logits();
    expect(klDivergence(whole, expected)).toBeLessThan(gate);
    sequence.truncate(0);
    await sequence.prefill(IDS, { stepByStep: true });
    expect(klDivergence(await sequence.logits(), expected)).toBeLessThan(Math.max(gate, decodeGate));

    const without = await ReferenceModel.load(plain.checkpoint, plain.config);
    const other = await without.createSequence({ contextTokens: 128 });
    await other.prefill(IDS);
    expect(klDivergence(whole, await other.logits())).toBeGreaterThan(0.05);
    sequence.dispose();
  });
});

it("refuses kept columns behind a norm by name", async () => {
  const kept = keeping(await tinyModel("llama"), "mlp.up_proj", 8);
  await expect(Engine.create({ gpu: await requestNodeGpu(), ...kept })).rejects.toMatchObject({
    code: "MODEL_UNSUPPORTED",
    message: expect.stringContaining("mlp.up_proj"),
  });
});
