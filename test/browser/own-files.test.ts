/** The user's own file in a real page: real workers, IndexedDB and GPU. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { type LoadProgress, type Model, Ochre } from "../../runtime/index";
import { tinyGguf } from "../formats/tiny-gguf";

const gguf = (layers: number) => new File([tinyGguf({ layers })], "Tiny.F32.gguf", { lastModified: 1 });

let model: Model | undefined;
beforeEach(() => Ochre.cache.clear());
afterEach(() => model?.dispose());

it("becomes a model that answers, and is found again by the file or by its name", async () => {
  model = await Ochre.load(gguf(2), { contextTokens: 64 });
  expect(model.info).toMatchObject({ name: "Tiny.F32", layers: 2, palettized: { relativeError: expect.any(Number) } });
  const session = await model.createSession();
  const text = await session.prompt("Hello", { maxTokens: 8 });
  await model.dispose();

  const [{ url, complete }] = await Ochre.cache.list();
  expect(complete).toBe(true);
  for (const source of [gguf(2), url]) {
    model = await Ochre.load(source, { contextTokens: 64 });
    expect(model.info).toMatchObject({ fromCache: true, palettized: undefined });
    expect(await (await model.createSession()).prompt("Hello", { maxTokens: 8 })).toBe(text);
    await model.dispose();
  }
});

it("answers the same with nothing stored", async () => {
  const answers: string[] = [];
  for (const cache of [true, false]) {
    model = await Ochre.load(gguf(2), { contextTokens: 64, cache });
    answers.push(await (await model.createSession()).prompt("Hello", { maxTokens: 8 }));
    await model.dispose();
    await Ochre.cache.clear();
  }
  expect(answers[1]).toBe(answers[0]);
});

it("leaves a clean store when it is aborted", async () => {
  const controller = new AbortController();
  const reason = new Error("changed my mind");
  const onProgress = ({ phase, loaded }: LoadProgress) => {
    if (phase === "palettize" && loaded === 20) controller.abort(reason);
  };
  await expect(Ochre.load(gguf(30), { signal: controller.signal, onProgress })).rejects.toBe(reason);
  expect(await Ochre.cache.list()).toEqual([]);
  expect(await Ochre.cache.size()).toBe(0);
});
