/** Calls a page's handler. What it throws is reported like an event handler's error and never breaks the call behind it. */
export function callHandler<T>(handler: ((value: T) => void) | null | undefined, value: T): void {
  try {
    handler?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
