import { describe, expect, it } from "vitest";
import { type Score, type ScoredSequence, score } from "../../runtime/engine/evaluation";

/** Says of every token what `logitsOf` says, and remembers what it was shown. */
class Scripted implements ScoredSequence {
  readonly ids: number[] = [];
  readonly calls: number[] = [];

  constructor(private readonly logitsOf: (id: number, position: number) => number[]) {}

  truncate(n: number): void {
    this.ids.length = n;
  }

  async prefillLogits(ids: readonly number[], onLogits: (position: number, logits: Float32Array) => void): Promise<void> {
    this.calls.push(ids.length);
    for (const id of ids) {
      this.ids.push(id);
      onLogits(this.ids.length - 1, Float32Array.from(this.logitsOf(id, this.ids.length - 1)));
    }
  }
}

const log = Math.log;
/** Always 1/2, 1/4, 1/4, however the logits are shifted. */
const steady = () => new Scripted((_, position) => [log(2) + position, position, position]);

describe("score", () => {
  it("is exp of the mean surprise of each window's tokens but its first; a rest that fills no window is left out", async () => {
    const { scored, perplexity, source } = await score(steady(), [0, 1, 0, 0, 2, 0, 1], { context: 3 });
    expect(scored).toBe(4);
    // After 0: 1 and 0; after the second window's 0: 2 and 0.
    expect(perplexity).toBeCloseTo((4 * 2 * 4 * 2) ** (1 / 4), 6);
    expect(source).toBeUndefined();
  });

  it("compares with a source: its perplexity, the likeliest token, and KL(source || model)", async () => {
    const source = new Scripted((_, position) => (position === 0 ? [log(3), 0, -1e4] : [0, log(3), -1e4]));
    const result = await score(steady(), [0, 0, 0], { context: 3, source });
    expect(result.source?.topAgreement).toBe(0.5);
    expect(result.source?.perplexity).toBeCloseTo(Math.sqrt((4 / 3) * 4), 5);
    const first = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.25);
    const second = 0.25 * log(0.25 / 0.5) + 0.75 * log(0.75 / 0.25);
    expect(result.source?.kl).toBeCloseTo((first + second) / 2, 5);
  });

  it("finds a model to be its own source, whatever the pieces in which both read a window", async () => {
    const ids = Array.from({ length: 300 }, (_, i) => i % 3);
    const model = new Scripted((id, position) => [Math.sin(id + position), Math.cos(position), 0.5]);
    const source = new Scripted((id, position) => [Math.sin(id + position), Math.cos(position), 0.5]);
    const result = await score(model, ids, { context: 300, source });
    expect(result.source).toEqual({ perplexity: result.perplexity, topAgreement: 1, kl: 0 });
    expect(model.calls.length).toBeGreaterThan(1);
    expect(model.ids).toEqual(ids.slice(0, 299));
    expect(source.calls).toEqual(model.calls);
  });

  it("tells of every window, and stops with the signal's reason", async () => {
    const seen: [number, number, Score][] = [];
    const stop = new AbortController();
    const onWindow = (done: number, total: number, soFar: Score) => {
      seen.push([done, total, soFar]);
      if (done === 2) stop.abort(new Error("enough"));
    };
    const ids = [0, 0, 1, 1, 2, 2];
    await expect(score(steady(), ids, { context: 2, onWindow, signal: stop.signal })).rejects.toThrow("enough");
    expect(seen.map(([done, total]) => [done, total])).toEqual([
      [1, 3],
      [2, 3],
    ]);
    expect(seen[0][2].perplexity).toBeCloseTo(2, 6);
    expect(seen[1][2].perplexity).toBeCloseTo(Math.sqrt(8), 6);
  });
});
