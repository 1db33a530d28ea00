/**
 * Twin of sample-threshold: the smallest logit that top-k, top-p and min-p keep, in this order.
 *
 *   top-k: the k largest logits, ties with the k-th included
 *   top-p: of those, with p = softmax(logit / temperature) over them, the smallest set of the likeliest whose sum reaches topP
 *   min-p: of those, the ones with p >= minP * max p
 *
 * Exactly the kept tokens have logit >= threshold (tokens that tie with the last kept one are kept).
 */
export interface SampleThresholdArgs {
  /** [V]. */
  logits: ArrayLike<number>;
  /** > 0. */
  temperature: number;
  /** 0 = all. */
  topK?: number;
  /** 1 = all. */
  topP?: number;
  /** 0 = all. */
  minP?: number;
}

export function sampleThreshold({ logits, temperature, topK = 0, topP = 1, minP = 0 }: SampleThresholdArgs): number {
  const sorted = Float64Array.from(logits).sort().reverse();
  const max = sorted[0];
  let threshold = topK > 0 && topK < sorted.length ? sorted[topK - 1] : sorted[sorted.length - 1];
  if (topP < 1) {
    const survivors = sorted.filter((logit) => logit >= threshold).map((logit) => Math.exp((logit - max) / temperature));
    const total = survivors.reduce((sum, weight) => sum + weight, 0);
    let reached = 0;
    let kept = 0;
    do reached += survivors[kept++];
    while (kept < survivors.length && reached < topP * total);
    threshold = sorted[kept - 1];
  }
  if (minP > 0) {
    const likely = sorted.filter((logit) => logit >= threshold && Math.exp((logit - max) / temperature) >= minP);
    threshold = likely[likely.length - 1];
  }
  return threshold;
}
