/** Which planes are left away within an average: decided on the CPU, from palettes, row scales and what the model says of its linears. */
import { beforeAll, describe, expect, it } from "vitest";
import { averageBitsAt, fitWidths, wantedTensors } from "../../runtime/engine/fit-widths";
import { type TinyModel, tinyModel } from "./tiny-model";

let tiny: TinyModel;
beforeAll(async () => {
  tiny = await tinyModel("llama");
});

const fitted = async (averageBits: number, sensitivities?: Record<string, number>) => {
  const config = { ...tiny.config, quantization: { ...tiny.config.quantization!, sensitivities } };
  const widths = await fitWidths(config, tiny.checkpoint, averageBits);
  const all = Array.from(widths, ([name, of]) => ({ name, ...of }));
  return { widths, average: averageBitsAt(config, all)!, all };
};

describe("fitWidths", () => {
  it("never exceeds the average, and comes near it", async () => {
    for (const averageBits of [4, 3.7, 3.2, 2.8]) {
      const { average } = await fitted(averageBits);
      expect(average).toBeLessThanOrEqual(averageBits + 1e-9);
      expect(average).toBeGreaterThan(averageBits - 0.1);
    }
  });

  it("counts what stays whatever the widths", async () => {
    const quantization = { ...tiny.config.quantization!, average_bits: tiny.config.quantization!.average_bits + 0.2 };
    const config = { ...tiny.config, quantization };
    const widths = await fitWidths(config, tiny.checkpoint, 3.5);
    const all = Array.from(widths, ([name, of]) => ({ name, ...of }));
    expect(averageBitsAt(config, all)).toBeLessThanOrEqual(3.5 + 1e-9);
    expect(averageBitsAt(config, all)).toBeGreaterThan(3.4);
  });

  it("leaves everything where it fits", async () => {
    const { all } = await fitted(8);
    for (const { bits, stored } of all) expect(bits).toEqual(stored);
  });

  it("spares the linears that the model says are dear", async () => {
    const dear = (name: string) => name.endsWith("mlp.down_proj");
    const sensitivities = Object.fromEntries(Array.from((await fitted(8)).widths.keys(), (name) => [name, dear(name) ? 1e6 : 1]));
    const { all } = await fitted(3.5, sensitivities);
    for (const { name, bits } of all) if (dear(name)) expect(Math.min(...bits)).toBe(4);
    const least = async (of?: Record<string, number>) =>
      Math.min(...(await fitted(3.2, of)).all.filter(({ name }) => dear(name)).flatMap(({ bits }) => [...bits]));
    expect(await least()).toBeLessThan(await least(sensitivities));
  });

  it("refuses an average below 2 bits with their palettes, and what is no number", async () => {
    await expect(fitted(2)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(fitted(Number.NaN)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("wantedTensors", () => {
  it("leaves out planes of which no row is needed, and nothing else", () => {
    const widths = new Map([
      ["a", { stored: Uint8Array.of(4, 4), bits: Uint8Array.of(3, 2) }],
      ["b", { stored: Uint8Array.of(4, 2), bits: Uint8Array.of(4, 2) }],
    ]);
    const names = ["a", "b"].flatMap((name) =>
      ["plane0", "plane1", "plane2", "bits", "palette4"].map((part) => `${name}.${part}`),
    );
    expect(names.filter((name) => !wantedTensors(widths)(name))).toEqual(["a.plane2"]);
    expect(names.every(wantedTensors(undefined))).toBe(true);
  });
});
