import { describe, expect, it, vi } from "vitest";
import { inParallel } from "../../runtime/store/in-parallel";

/** Ends after `ms`, or with the signal's reason as soon as it is aborted. */
const wait = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", () => reject(signal.reason));
  });

describe("inParallel", () => {
  it("gives results in order, whichever ends first", async () => {
    const squares = await inParallel([3, 1, 2, 0], 2, undefined, async (n, signal) => {
      await wait(n, signal);
      return n * n;
    });
    expect(squares).toEqual([9, 1, 4, 0]);
  });

  it("aborts the rest on the first failure, starts nothing more, and settles when all has ended", async () => {
    const failure = new Error("the second failed");
    const ended: unknown[] = [];
    const work = vi.fn(async (n: number, signal: AbortSignal) => {
      if (n === 1) throw failure;
      await wait(10_000, signal).catch(async (reason) => {
        await Promise.resolve();
        ended.push(reason);
      });
    });
    await expect(inParallel([0, 1, 2, 3, 4], 3, undefined, work)).rejects.toBe(failure);
    expect(ended).toEqual([failure, failure]);
    expect(work).toHaveBeenCalledTimes(3);
  });

  it("rejects with the reason of the caller's signal", async () => {
    const controller = new AbortController();
    const running = inParallel([0, 1, 2], 2, controller.signal, (_, signal) => wait(10_000, signal));
    controller.abort("enough");
    await expect(running).rejects.toBe("enough");
    const work = vi.fn();
    await expect(inParallel([0], 1, AbortSignal.abort("before"), work)).rejects.toBe("before");
    expect(work).not.toHaveBeenCalled();
  });
});
