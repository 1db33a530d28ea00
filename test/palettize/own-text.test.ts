import { beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../runtime/cli/open-checkpoint";
import { ReferenceModel } from "../../runtime/engine/reference/model";
import { loadDenseWeights } from "../../runtime/engine/reference/weights";
import { BatchDecoder } from "../../runtime/palettize/batch-decoder";
import { PASSAGES, QUESTIONS } from "../../runtime/palettize/openings";
import { writeOwnText } from "../../runtime/palettize/own-text";
import { makeTextModel, tinyLlama } from "../cli/text-model";
import { nmse } from "../kernels/harness";

describe("BatchDecoder", () => {
  it("gives each sequence what the reference model gives it alone, one that starts late and one that starts anew among them", async () => {
    const { checkpoint, config, close } = await openCheckpoint(tinyLlama);
    const model = await ReferenceModel.load(checkpoint, config);
    const decoder = new BatchDecoder(config, await loadDenseWeights(checkpoint, config), 3, 8);
    await close();
    const expected = async (ids: number[]) => {
      const sequence = await model.createSequence({ contextTokens: 8 });
      await sequence.prefill(ids);
      return sequence.logits();
    };
    const columns = [
      [5, 6, 7, 8],
      [9, 10, 11, 12],
      [13, 14, 15, 16],
    ];
    let logits: Float32Array = new Float32Array();
    for (let step = 0; step < 4; step++) {
      if (step === 2) decoder.restart(1);
      logits = decoder.step(columns.map((ids) => ids[step]));
    }
    for (const [slot, ids] of [columns[0], columns[1].slice(2), columns[2]].entries()) {
      const got = logits.subarray(slot * config.V, (slot + 1) * config.V);
      expect(nmse(got, await expected(ids))).toBeLessThan(1e-10);
    }
  });
});

describe("writeOwnText", () => {
  const written: Record<string, string> = {};

  beforeAll(async () => {
    const { checkpoint, config, close } = await openCheckpoint(makeTextModel());
    const write = (tokens: number, seed: number) => writeOwnText(checkpoint, config, { tokens, seed });
    written.first = await write(2560, 7);
    written.again = await write(2560, 7);
    written.other = await write(2560, 8);
    written.short = await write(32, 7);
    await close();
  });

  it("writes the same text for the same seed, and another for another", () => {
    expect(written.again).toBe(written.first);
    expect(written.other).not.toBe(written.first);
  });

  it("begins with its openings and goes on from each in another way", () => {
    const letters = (text: string) => text.replace(/[^a-z ]/g, "");
    expect(written.first.startsWith(letters(PASSAGES[0]))).toBe(true);
    const documents = written.first.split("\n\n");
    expect(documents.length).toBeGreaterThanOrEqual(32);
    expect(new Set(documents.map((text) => text.slice(-12))).size).toBeGreaterThan(24);
  });

  it("is as long as it was told to be", () => {
    expect(written.short.length).toBeLessThan(written.first.length / 8);
  });

  it("stops with the signal's reason, and says what shows how far it is", async () => {
    const { checkpoint, config, close } = await openCheckpoint(makeTextModel());
    const seen: number[] = [];
    const stop = new AbortController();
    const onProgress = (done: number, total: number) => {
      seen.push(done / total);
      if (done === 64) stop.abort(new Error("enough"));
    };
    await expect(writeOwnText(checkpoint, config, { tokens: 128, seed: 1, onProgress, signal: stop.signal })).rejects.toThrow(
      "enough",
    );
    await close();
    expect(seen).toEqual([0, 0.25, 0.5]);
  });

  it("refuses a checkpoint without a tokenizer", async () => {
    const { checkpoint, config, close } = await openCheckpoint(tinyLlama);
    await expect(writeOwnText(checkpoint, config, { tokens: 32, seed: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await close();
  });
});

describe("the openings", () => {
  it("are all different, and plenty", () => {
    expect(new Set([...PASSAGES, ...QUESTIONS]).size).toBe(PASSAGES.length + QUESTIONS.length);
    expect(PASSAGES.length).toBe(2 * QUESTIONS.length);
  });
});
