/** What whoever brings a model to this device locks. */
export const modelLock = (url: string): string => `ochre:${url}`;

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

/** Runs `work` if nobody runs any under this name; without Web Locks nobody can tell, and it does not run. */
export async function withFreeLock(name: string, work: () => Promise<void>): Promise<void> {
  await globalThis.navigator?.locks?.request(name, { ifAvailable: true }, async (lock) => {
    if (lock) await work();
  });
}
