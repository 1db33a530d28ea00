import { expect, it } from "vitest";
import { loadFake, rejection } from "./wire";

/** A token's probability where another one came: 1 / (V + 1). */
const OTHER = 2001;

it("scores whole windows, tells of each, and gives the cache back", async () => {
  const { model, engine } = await loadFake();
  const windows: [number, number][] = [];
  const onProgress = ({ window, windows: all }: { window: number; windows: number }) => windows.push([window, all]);
  // Of each window of 4, "aa" is twice as likely as "ab".
  const result = await model.evaluate({ text: "aaabaabbab", context: 4, onProgress });
  expect(result.scored).toBe(6);
  expect(result.perplexity).toBeCloseTo(Math.exp((4 * Math.log(OTHER / 2) + 2 * Math.log(OTHER)) / 6), 2);
  expect(result).not.toHaveProperty("source");
  expect(windows).toEqual([
    [1, 2],
    [2, 2],
  ]);
  expect(engine.sequences).toBe(0);
  expect((await model.evaluate({ text: "aaabaabbab", context: 4, tokens: 5 })).scored).toBe(3);
  await model.dispose();
});

it("asks a source in another worker, and ends its context", async () => {
  const [{ model, engine }, source] = [await loadFake(), await loadFake()];
  const same = await model.evaluate({ text: "abcdefgh", context: 4, source: source.model });
  expect(same.source).toEqual({ perplexity: same.perplexity, topAgreement: 1, kl: 0 });
  expect(source.engine.prefills).toEqual([3, 3]);
  expect(source.engine.sequences).toBe(0);
  engine.sureness = 4;
  const surer = await model.evaluate({ text: "abcdefgh", context: 4, source: source.model });
  expect(surer.source?.topAgreement).toBe(1);
  expect(surer.source?.kl).toBeGreaterThan(0);
  // Both go on, and an evaluation that breaks ends the context too.
  expect((await model.evaluate({ text: "abcd", context: 4 })).scored).toBe(3);
  await expect(model.evaluate({ text: "ab", context: 4, source: source.model })).rejects.toThrow(
    /must fill a window of 4 tokens but has 2/,
  );
  expect(source.engine.sequences).toBe(0);
  await source.model.dispose();
  await model.dispose();
});

it("refuses what makes no sense", async () => {
  const { model } = await loadFake();
  const refused = async (options: Parameters<typeof model.evaluate>[0]) => expect(await rejection(model.evaluate(options)));
  (await refused({ text: "abcd", context: 1 })).toMatchObject({ code: "INVALID_ARGUMENT" });
  (await refused({ text: "abcd", context: 101 })).toMatchObject({ message: expect.stringContaining("at most 100") });
  (await refused({ text: "abcd", source: model })).toMatchObject({ message: expect.stringContaining("another model") });
  (await refused({ text: 5 as unknown as string })).toBeInstanceOf(TypeError);
  await model.dispose();
});

it("aborts with the signal's own reason; the model goes on", async () => {
  const { model, engine } = await loadFake();
  const stop = new AbortController();
  const reason = new Error("enough");
  const onProgress = () => stop.abort(reason);
  expect(await rejection(model.evaluate({ text: "a".repeat(100), context: 4, onProgress, signal: stop.signal }))).toBe(reason);
  expect(engine.prefills.length).toBeLessThan(25);
  expect(engine.sequences).toBe(0);
  expect((await model.evaluate({ text: "aaaa", context: 4 })).scored).toBe(3);
  await model.dispose();
});
