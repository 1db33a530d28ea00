/**
 * Decoding in int8 against a reference that rounds the same palettes and activations: what is left is the rounding of f32, until
 * one value ties and falls to its neighbour. (Against a reference that rounds nothing, a tiny random model moves by nats.)
 */
import { expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { klDivergence } from "./compare";
import { tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 60 }, (_, i) => (i * 73 + 11) % 512);
/** Up to here nothing ties. */
const UNTIED = 24;
/** All that the tuner would decide. */
const TUNED = { int8: true, f32Pairs: false, lanes: 8 };

it.each([{ software: true }, { software: false }])(
  "decodes like the reference in int8, software mapping $software",
  async ({ software }) => {
    const tiny = await tinyModel("llama");
    const reference = await ReferenceModel.load(tiny.checkpoint, tiny.config, { int8: "activations too" });
    const cpu = await reference.createSequence({ contextTokens: 64, kv: { k: 8, v: 8 } });
    const expected: Float32Array[] = [];
    await cpu.prefillLogits(IDS, (_, logits) => expected.push(logits));
    const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny, choice: { software, int8: true } });
    const sequence = await engine.createSequence({ contextTokens: 64 });
    const divergences: number[] = [];
    for (const [position, id] of IDS.entries()) {
      await sequence.prefill([id]);
      divergences.push(klDivergence(await sequence.logits(), expected[position]));
    }
    engine.dispose();
    expect(Math.max(...divergences.slice(0, UNTIED))).toBeLessThan(1e-9);
    expect(Math.max(...divergences)).toBeLessThan(1e-2);
  },
);

/** Software adapters keep activations in f32 where many tokens are computed; GPUs round them before every linear. */
it.each([
  { software: true, int8: "weights" as const },
  { software: false, int8: "activations too" as const },
])("prefills like the reference in int8, software mapping $software", async ({ software, int8 }) => {
  const tiny = await tinyModel("llama");
  const reference = await ReferenceModel.load(tiny.checkpoint, tiny.config, { int8 });
  const cpu = await reference.createSequence({ contextTokens: 64, kv: { k: 8, v: 8 } });
  const expected: Float32Array[] = [];
  await cpu.prefillLogits(IDS, (_, logits) => expected.push(logits));
  const engine = await Engine.create({ gpu: await requestNodeGpu(), ...tiny, choice: { ...TUNED, software } });
  const sequence = await engine.createSequence({ contextTokens: 64 });
  const divergences: number[] = [];
  await sequence.prefillLogits(IDS, (position, logits) => divergences.push(klDivergence(logits, expected[position])));
  engine.dispose();
  expect(Math.max(...divergences.slice(0, UNTIED))).toBeLessThan(1e-9);
  expect(Math.max(...divergences)).toBeLessThan(1e-2);
});
