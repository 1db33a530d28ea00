/** Measures between two logit vectors, and a reference cache that is dictated by the GPU's. */
import { LayerCache } from "../../runtime/engine/reference/attention";

/** KL(softmax(expected) || softmax(actual)), nats. Anything that is not a number makes it not a number, which fails every gate. */
export function klDivergence(actual: Float32Array, expected: Float32Array): number {
  const a = logSumExp(actual);
  const e = logSumExp(expected);
  let kl = 0;
  for (let i = 0; i < expected.length; i++) {
    const log = expected[i] - e;
    kl += Math.exp(log) * (log - (actual[i] - a));
  }
  return kl;
}

function logSumExp(logits: Float32Array): number {
  const max = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return max + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - max), 0));
}

export function argmax(logits: Float32Array): number {
  return logits.reduce((best, value, id) => (value > logits[best] ? id : best), 0);
}

/**
 * An int8 cache whose codes are the GPU's, each checked to be within a step of the reference's own. Two exact engines differ by
 * 1e-6 before they round to int8, so now and then a code falls to its neighbour, and thirty layers turn one such code into a
 * logit difference as large as int8 rounding itself makes. With the same codes on both sides everything else must agree.
 */
export class DictatedCache extends LayerCache {
  /** Codes written so far, those that differ from the reference's own, and the largest difference in steps. */
  readonly seen = { codes: 0, differing: 0, mostSteps: 0 };

  constructor(
    G: number,
    d: number,
    maxTokens: number,
    private readonly dictated: { k: Int8Array; v: Int8Array; scales: Float32Array },
  ) {
    super(G, d, maxTokens, { k: 8, v: 8 });
  }

  override write(k: Float32Array, v: Float32Array, T: number, position: number): void {
    super.write(k, v, T, position);
    const { G, d, maxTokens, dictated, seen } = this;
    for (let g = 0; g < G; g++) {
      for (let row = g * maxTokens + position; row < g * maxTokens + position + T; row++) {
        for (const [i, name] of (["k", "v"] as const).entries()) {
          const scale = dictated.scales[2 * row + i];
          for (let at = row * d; at < (row + 1) * d; at++) {
            const value = dictated[name][at] * scale;
            const steps = Math.abs(value - this[name][at]) / scale;
            seen.codes++;
            if (!(steps < 0.5)) seen.differing++;
            if (!(steps <= seen.mostSteps)) seen.mostSteps = steps;
            this[name][at] = value;
          }
        }
      }
    }
  }
}
