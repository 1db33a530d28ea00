/**
 * Runs `work` while no other tab or worker of this site runs work under the same name, so that two tabs do not fetch the
 * same shard. Without Web Locks it runs at once. Aborting ends the wait; `work` watches the signal itself.
 */
export async function withLock<T>(name: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return work();
  try {
    return await locks.request(name, { signal }, work);
  } catch (error) {
    // A lock manager of an older browser rejects with an AbortError of its own.
    signal?.throwIfAborted();
    throw error;
  }
}
