/**
 * Runs `work` on every item, at most `width` at a time, and gives the results in order. The first failure aborts the
 * work under way through the signal that it was given; the promise settles once all of it has ended.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const results = new Array<R>(items.length);
  const queue = items.entries();
  const lane = async () => {
    // The lanes share one iterator: each takes the next item when it is free.
    for (const [i, item] of queue) {
      either.throwIfAborted();
      results[i] = await work(item, either);
    }
  };
  await Promise.all(Array.from({ length: width }, () => lane().catch((error) => failed.abort(error))));
  failed.signal.throwIfAborted();
  return results;
}
