/**
 * Speculation on a tiny model: whatever is guessed, the tokens are those that single steps give, in every mapping, at any
 * temperature, wherever a reply ends. Where the model would have to be lucky the tests guess for it.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { requestNodeGpu } from "../../runtime/cli/gpu";
import type { DecodeOptions } from "../../runtime/engine/decode";
import { Engine } from "../../runtime/engine/engine";
import type { Sequence } from "../../runtime/engine/sequence";
import { guessNext } from "../../runtime/engine/speculation";
import { tinyModel } from "./tiny-model";

vi.mock("../../runtime/engine/speculation", async (original) => {
  const real = await original<typeof import("../../runtime/engine/speculation")>();
  return { ...real, guessNext: vi.fn(real.guessNext) };
});
const guesser = vi.mocked(guessNext);
const guessItself = guesser.getMockImplementation()!;

const CONTEXT = 128;
const TOKENS = 36;
const SCATTERED = Array.from({ length: 23 }, (_, i) => (i * 73 + 11) % 512);
const REPETITIVE = Array.from({ length: 40 }, (_, i) => [5, 9, 300, 41, 77][i % 5]);
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stopIds: [] as number[] };
const DRAWN = { ...GREEDY, temperature: 0.8, topK: 20, topP: 0.95, seed: 3 };

/** Guesses what is known to come after `prompt`; every `wrong`th token of the reply wrongly. */
function guessFrom(prompt: readonly number[], reply: readonly number[], wrong = Number.POSITIVE_INFINITY): void {
  guesser.mockImplementation((ids, _last, most) => {
    const from = ids.length + 1 - prompt.length;
    return reply.slice(from, from + Math.max(0, most)).map((id, i) => ((from + i) % wrong === 0 ? (id + 1) % 512 : id));
  });
}

describe.each([
  { software: true, int8: false },
  { software: true, int8: true },
  { software: false, int8: false },
  { software: false, int8: true },
])("software mapping $software, int8 $int8", (choice) => {
  let engine: Engine;
  let sequence: Sequence;

  beforeAll(async () => {
    engine = await Engine.create({
      gpu: await requestNodeGpu(),
      ...(await tinyModel("llama")),
      choice,
      contextTokens: CONTEXT,
    });
    sequence = await engine.createSequence({ contextTokens: CONTEXT });
  });
  afterAll(() => engine.dispose());
  beforeEach(() => {
    guesser.mockImplementation(guessItself);
  });

  async function reply(prompt: readonly number[], options: Partial<DecodeOptions>): Promise<number[]> {
    sequence.truncate(0);
    await sequence.prefill(prompt);
    const ids: number[] = [];
    for await (const batch of sequence.decode({ ...GREEDY, maxTokens: TOKENS, ...options })) ids.push(...batch);
    expect(sequence.ids).toEqual([...prompt, ...ids.slice(0, -1)]);
    return ids;
  }

  /** What `work` adds to the counts of guesses. */
  async function counted<T>(work: () => Promise<T>): Promise<{ result: T; drafted: number; accepted: number }> {
    const before = { ...sequence.speculated };
    const result = await work();
    const { drafted, accepted } = sequence.speculated;
    return { result, drafted: drafted - before.drafted, accepted: accepted - before.accepted };
  }

  it.each([
    { name: "scattered, greedy", prompt: SCATTERED, sampling: GREEDY },
    { name: "repetitive, greedy", prompt: REPETITIVE, sampling: GREEDY },
    { name: "scattered, drawn", prompt: SCATTERED, sampling: DRAWN },
    { name: "repetitive, drawn", prompt: REPETITIVE, sampling: DRAWN },
  ])("gives the same tokens after a prompt that is $name", async ({ prompt, sampling }) => {
    const plain = await reply(prompt, { ...sampling, speculate: "never" });
    expect(plain.length).toBe(TOKENS);
    expect(await reply(prompt, { ...sampling, speculate: "always" })).toEqual(plain);
    expect(await reply(prompt, { ...sampling, speculate: "auto" })).toEqual(plain);

    guessFrom(prompt, plain);
    const right = await counted(() => reply(prompt, { ...sampling, speculate: "always" }));
    expect(right.result).toEqual(plain);
    // The first two tokens and what was under way with them are not checked; all the rest is.
    expect(right.accepted).toBe(right.drafted);
    expect(right.drafted).toBeGreaterThan(TOKENS - 12);

    guessFrom(prompt, plain, 3);
    const partly = await counted(() => reply(prompt, { ...sampling, speculate: "always" }));
    expect(partly.result).toEqual(plain);
    expect(partly.accepted).toBeGreaterThan(5);
    expect(partly.accepted).toBeLessThan(partly.drafted / 2);

    const never = await counted(() => reply(prompt, { ...sampling, speculate: "never" }));
    expect(never.result).toEqual(plain);
    expect(never.drafted).toBe(0);
  });

  it.each([GREEDY, DRAWN])("ends where a reply ends: inside a right guess, temperature $temperature", async (sampling) => {
    const plain = await reply(SCATTERED, { ...sampling, speculate: "never" });
    guessFrom(SCATTERED, plain);
    const always = { ...sampling, speculate: "always" } as const;
    // A first occurrence that is neither the first nor the last token of a check.
    const end = plain.findIndex((id, i) => i >= 5 && plain.indexOf(id) === i && (i - 2) % 8 > 1 && (i - 2) % 8 < 6);
    const stopped = await counted(() => reply(SCATTERED, { ...always, stopIds: [plain[end]] }));
    expect(stopped.result).toEqual(plain.slice(0, end + 1));
    expect(stopped.accepted).toBeGreaterThan(2);
    expect(stopped.accepted).toBeLessThan(stopped.drafted);

    expect(await reply(SCATTERED, { ...always, maxTokens: 6 })).toEqual(plain.slice(0, 6));
    expect(await reply(SCATTERED, { ...always, maxTokens: 1 })).toEqual(plain.slice(0, 1));

    const long = [...SCATTERED, ...Array.from({ length: CONTEXT - 28 }, (_, i) => (i * 31 + 7) % 512)];
    const last = await reply(long, { ...sampling, speculate: "never" });
    expect(last.length).toBe(5);
    guessFrom(long, [...last, ...last, ...last]);
    const filled = await counted(() => reply(long, always));
    expect(filled.result).toEqual(last);
    expect(filled.accepted).toBeGreaterThan(0);
  });

  it("keeps what an aborted reply gave, and goes on from there as if nothing had been guessed", async () => {
    const plain = await reply(SCATTERED, { speculate: "never" });
    guessFrom(SCATTERED, plain, 11);
    sequence.truncate(0);
    await sequence.prefill(SCATTERED);
    const abort = new AbortController();
    const ids: number[] = [];
    const run = async () => {
      const options = { ...GREEDY, maxTokens: TOKENS, speculate: "always", signal: abort.signal } as const;
      for await (const batch of sequence.decode(options)) {
        ids.push(...batch);
        if (ids.length > 5) abort.abort("enough");
      }
    };
    await expect(run()).rejects.toBe("enough");
    expect(ids.length).toBeLessThan(TOKENS);
    expect(sequence.ids).toEqual([...SCATTERED, ...ids.slice(0, -1)]);
    // The rest of a wrong guess is still in the cache, beyond its end.
    await sequence.prefill(ids.slice(-1));
    const rest: number[] = [];
    for await (const batch of sequence.decode({ ...GREEDY, maxTokens: TOKENS - ids.length, speculate: "never" }))
      rest.push(...batch);
    expect([...ids, ...rest]).toEqual(plain);
  });
});
