/** As much of navigator.locks as the store uses: exclusive, first come first served, a wait that can be aborted. */
export class FakeLocks {
  waiting = 0;
  readonly #last = new Map<string, Promise<unknown>>();

  async request<T>(name: string, { signal }: { signal?: AbortSignal }, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#last.set(
      name,
      Promise.resolve(before).then(() => held),
    );
    try {
      this.waiting++;
      const aborted = new Promise((_, reject) =>
        signal?.addEventListener("abort", () => reject(new DOMException("The request was aborted.", "AbortError"))),
      );
      await Promise.race([before, aborted]).finally(() => this.waiting--);
      return await work();
    } finally {
      release();
    }
  }

  /** Takes a lock; the returned function lets go of it. */
  hold(name: string): Promise<() => void> {
    return new Promise((resolve) => {
      void this.request(name, {}, () => new Promise<void>((release) => resolve(release)));
    });
  }
}
