/** What is guessed and when guesses are checked, without a GPU. */
import { describe, expect, it } from "vitest";
import { stepSizes } from "../../runtime/engine/prefill";
import { guessNext, SpeculationGain } from "../../runtime/engine/speculation";
import { capacityOf } from "../../runtime/engine/step-programs";

describe("guessNext", () => {
  it("goes on as it went on after the last three tokens", () => {
    expect(guessNext([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2], 3, 4)).toEqual([4, 5, 6, 7]);
  });

  it("takes the latest match, and three tokens rather than two", () => {
    expect(guessNext([1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2], 3, 1)).toEqual([5]);
    expect(guessNext([1, 2, 3, 4, 9, 2, 3, 6, 7, 1, 2], 3, 1)).toEqual([4]);
    expect(guessNext([1, 2, 3, 4, 9, 8, 2], 3, 2)).toEqual([4, 9]);
  });

  it("repeats a match that is closer than the guess is long", () => {
    expect(guessNext([5, 5], 5, 4)).toEqual([5, 5, 5, 5]);
    expect(guessNext([7, 1, 2, 1], 2, 5)).toEqual([1, 2, 1, 2, 1]);
  });

  it("guesses nothing where the end is new, or there is no room", () => {
    expect(guessNext([1, 2, 3, 4], 5, 7)).toEqual([]);
    expect(guessNext([1, 1], 2, 7)).toEqual([]);
    expect(guessNext([], 1, 7)).toEqual([]);
    expect(guessNext([1], 1, 7)).toEqual([]);
    expect(guessNext([5, 5], 5, 0)).toEqual([]);
    expect(guessNext([5, 5], 5, -1)).toEqual([]);
  });
});

describe("SpeculationGain", () => {
  const guess = [1, 2, 3, 4, 5, 6, 7];
  /** Steps of 10 ms, checks of 2, 4 and 8 tokens that take so many times as long. */
  function measured(...ratios: [number, number, number]): SpeculationGain {
    const gain = new SpeculationGain();
    gain.stepped(10);
    for (const [i, ratio] of ratios.entries()) gain.checked(2 ** (i + 1), 10 * ratio);
    return gain;
  }

  it("checks nothing before it knows what a step costs", () => {
    expect(new SpeculationGain().worthChecking(7)).toBeUndefined();
  });

  it("tries each size once, then only those that pay", () => {
    const gain = measured(3, 3, 3);
    expect(gain.worthChecking(7)).toBeUndefined();
    expect(measured(1.1, 1.2, 4).worthChecking(7)).toEqual({ guesses: 3, capacity: 4 });
    const untried = new SpeculationGain();
    untried.stepped(10);
    expect(untried.worthChecking(7)).toEqual({ guesses: 7, capacity: 8 });
    untried.checked(8, 100);
    expect(untried.worthChecking(7)).toEqual({ guesses: 3, capacity: 4 });
  });

  it("uses programs that are there for the few guesses that a reply has room for, and compiles none for them", () => {
    const gain = new SpeculationGain();
    gain.stepped(10);
    gain.checked(8, 12);
    for (let i = 0; i < 20; i++) gain.compared(guess, guess);
    expect(gain.worthChecking(2)).toEqual({ guesses: 2, capacity: 8 });
    expect(gain.worthChecking(0)).toBeUndefined();
  });

  it("checks more the more often guesses are right", () => {
    const gain = measured(1.3, 2, 3);
    for (let i = 0; i < 20; i++) gain.compared(guess, guess);
    expect(gain.worthChecking(7)).toEqual({ guesses: 7, capacity: 8 });
    expect(gain.worthChecking(4)).toEqual({ guesses: 3, capacity: 4 }); // five tokens in a pass for eight cost more
    for (let i = 0; i < 20; i++) gain.compared(guess, [0, 0, 0]);
    expect(gain.worthChecking(7)).toBeUndefined();
  });

  it("learns from guesses that nobody checked, too, as far as tokens have come", () => {
    const gain = measured(1.6, 2.2, 4);
    expect(gain.worthChecking(7)).toBeUndefined();
    for (let i = 0; i < 10; i++) gain.compared(guess, [1, 2]);
    expect(gain.worthChecking(7)).toEqual({ guesses: 7, capacity: 8 });
  });

  it("tries again what was slow long ago, once", () => {
    const gain = measured(3, 3, 3);
    let refused = 0;
    while (!gain.worthChecking(7)) refused++;
    expect(refused).toBeGreaterThan(20);
    expect(refused).toBeLessThan(100);
    gain.checked(8, 30);
    gain.checked(4, 30);
    gain.checked(2, 30);
    expect(gain.worthChecking(7)).toBeUndefined();
  });
});

describe("the steps of a prefill", () => {
  it.each([
    [1, 256, [1]],
    [4, 256, [4]],
    [8, 256, [8]],
    [16, 256, [8, 8]],
    [17, 256, [17]],
    [64, 256, [64]],
    [70, 256, [64, 6]],
    [79, 64, [64, 8, 7]],
    [81, 256, [81]],
    [81, 64, [64, 17]],
    [256, 256, [256]],
    [261, 256, [256, 5]],
    [600, 256, [256, 256, 88]],
  ])("of %i tokens, at most %i at once", (tokens, chunk, expected) => {
    expect(stepSizes(tokens, chunk)).toEqual(expected);
  });

  it.each([
    [1, [1]],
    [2, [1, 1]],
    [3, [3]],
    [8, [8]],
    [64, [64]],
    [66, [64, 1, 1]],
    [130, [64, 64, 1, 1]],
    [131, [64, 64, 3]],
  ])("of %i tokens where a tile costs by groups of 8", (tokens, expected) => {
    expect(stepSizes(tokens, 64, 1)).toEqual(expected);
  });

  it("are recorded for 1, 2, 4 or 8 tokens, or for whole tiles", () => {
    expect([1, 2, 3, 4, 5, 8, 9, 64, 65, 256].map((tokens) => capacityOf(tokens))).toEqual([1, 2, 4, 4, 8, 8, 64, 64, 128, 256]);
    expect([1, 2, 3, 64, 65].map((tokens) => capacityOf(tokens, 1))).toEqual([1, 64, 64, 64, 128]);
  });
});
