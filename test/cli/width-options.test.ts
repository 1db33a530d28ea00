/** `--bits` and `--average-bits` of `run` and `eval`, on the CPU. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Evaluation, evaluate } from "../../runtime/cli/eval";
import { palettize } from "../../runtime/cli/palettize";
import { type RunReport, run } from "../../runtime/cli/run";
import { readWidths } from "../../runtime/cli/width-options";
import { makeDirectory } from "./model-directory";
import { captured, makeTextModel } from "./text-model";

describe("readWidths", () => {
  it("reads bits for all linears or by name, and an average", () => {
    expect(readWidths("run", {})).toEqual({});
    expect(readWidths("run", { bits: "3" })).toEqual({ bits: { "*": 3 } });
    expect(readWidths("run", { bits: "3, mlp.down_proj=2,layers.0.*=4", "average-bits": "2.5" })).toEqual({
      bits: { "*": 3, "mlp.down_proj": 2, "layers.0.*": 4 },
      averageBits: 2.5,
    });
  });

  it.each(["", "5", "three", "mlp.down_proj=", "mlp.down_proj:3", "3,,2"])("refuses --bits %j", (bits) => {
    expect(() => readWidths("run", { bits })).toThrow(/--bits must be 2, 3 or 4/);
  });

  it("refuses an average that is no number", () => {
    expect(() => readWidths("run", { "average-bits": "few" })).toThrow(/--average-bits must be/);
  });
});

describe("a model of 4 bits", () => {
  let model: string;
  beforeAll(async () => {
    model = path.join(makeDirectory({}), "tiny");
    await captured(() => palettize([makeTextModel(), "--out", model]));
  });

  const topLogits = async (...argv: string[]) => {
    const options = ["--model", model, "--prompt", "the cat", "--max-tokens", "1", "--reference", "--json", ...argv];
    const { topLogits }: RunReport = JSON.parse((await captured(() => run(options))).stdout);
    return topLogits;
  };

  it("runs at fewer, and at those it has", async () => {
    const whole = await topLogits();
    expect(await topLogits("--bits", "4")).toEqual(whole);
    expect(await topLogits("--average-bits", "8")).toEqual(whole);
    const narrow = await topLogits("--bits", "2");
    expect(narrow).not.toEqual(whole);
    expect(await topLogits("--bits", "*.mlp.*=2,self_attn.*=2")).toEqual(narrow);
    expect(await topLogits("--average-bits", "3")).not.toEqual(whole);
  });

  it("is evaluated at fewer, and the bits are told", async () => {
    const text = path.join(makeDirectory({}), "text.txt");
    writeFileSync(text, "the cat sat on the mat and the dog sat on the cat ".repeat(4));
    const bits = async (...argv: string[]) => {
      const options = ["--model", model, "--text", text, "--context", "32", "--cpu", "--json", ...argv];
      const evaluation: Evaluation = JSON.parse((await captured(() => evaluate(options))).stdout);
      return evaluation.bitsPerWeight;
    };
    const whole = await bits();
    expect(await bits("--bits", "3")).toBeLessThan(whole - 1);
    expect(await bits("--average-bits", "3.5")).toBeLessThanOrEqual(3.5);
    expect(await bits("--bits", "4")).toBeCloseTo(whole, 4);
  });

  it("has no more bits, and no other linears", async () => {
    await expect(topLogits("--bits", "mlp.side_proj=2")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(topLogits("--average-bits", "2")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const options = ["--model", makeTextModel(), "--prompt", "a", "--reference", "--bits", "3"];
    await expect(run(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
