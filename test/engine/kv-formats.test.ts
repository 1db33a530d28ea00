/** Whole passes over caches of every format, against the reference that rounds as each does. */
import { describe, expect, it } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import { Engine } from "../../runtime/engine/engine";
import { kvFormat, parseKvFormat } from "../../runtime/engine/kv-format";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { KV_FORMATS } from "../../runtime/engine/self-test/caches";
import { klDivergence } from "./compare";
import { tinyModel } from "./tiny-model";

const IDS = Array.from({ length: 70 }, (_, i) => (i * 73 + 11) % 512);

describe("caches of 16, 8 and 4 bits", () => {
  const bytes = new Map<string, number>();

  it.each(KV_FORMATS)("keys of $k bits and values of $v: like the reference", async (kv) => {
    const tiny = await tinyModel("llama");
    const reference = await ReferenceModel.load(tiny.checkpoint, tiny.config);
    const cpu = await reference.createSequence({ contextTokens: 96, kv });
    const expected: Float32Array[] = [];
    await cpu.prefillLogits(IDS, (_, logits) => expected.push(logits));
    const engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...tiny,
      kv,
      choice: { int8: false },
      disabledFeatures: ["shader-f16"],
    });
    const sequence = await engine.createSequence({ contextTokens: 96 });
    bytes.set(`${kv.k}/${kv.v}`, sequence.kvBytes);
    const divergences: number[] = [];
    // In tiles, then one by one.
    await sequence.prefillLogits(IDS.slice(0, 66), (position, logits) => {
      divergences.push(klDivergence(logits, expected[position]));
    });
    for (let position = 66; position < IDS.length; position++) {
      await sequence.prefill([IDS[position]]);
      divergences.push(klDivergence(await sequence.logits(), expected[position]));
    }
    engine.dispose();
    // Now and then a number falls on the edge between two codes, and those of 4 bits lie far apart.
    expect(Math.max(...divergences)).toBeLessThan(Math.min(kv.k, kv.v) === 4 ? 1e-3 : 1e-5);
  });

  it("take as much memory as they say", async () => {
    const { d } = (await tinyModel("llama")).config;
    const per = (k: number, v: number) => ((k + v) * d) / 8 + (k + v < 32 ? 8 : 0);
    const int8 = bytes.get("8/8")!;
    expect(bytes.get("8/4")! / int8).toBeCloseTo(per(8, 4) / per(8, 8), 2);
    expect(bytes.get("4/4")! / int8).toBeCloseTo(per(4, 4) / per(8, 8), 2);
    expect(bytes.get("16/16")! / int8).toBeCloseTo(per(16, 16) / per(8, 8), 2);
  });

  it("have names", () => {
    expect(kvFormat("int4")).toEqual({ k: 4, v: 4 });
    expect(kvFormat({ k: "f16", v: "int8" })).toEqual({ k: 16, v: 8 });
    expect(parseKvFormat("k8v4")).toEqual({ k: 8, v: 4 });
    expect(parseKvFormat("f16")).toEqual({ k: 16, v: 16 });
    for (const text of ["", "k8", "k3v4", "int2", "toString"]) expect(parseKvFormat(text)).toBeUndefined();
  });
});
