/** One GPU, one task at a time, first come first served. */
export class DeviceQueue {
  #tail: Promise<unknown> = Promise.resolve();

  /**
   * Runs `task` after everything queued before it. An abort while it waits takes it out of the queue and rejects
   * with the signal's reason at once; an abort while it runs is the task's own business.
   */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#tail = this.#tail.then(async () => {
        signal?.removeEventListener("abort", onAbort);
        if (signal?.aborted) return;
        await task().then(resolve, reject);
      });
    });
  }
}
