/** How much memory a page's workers hold, as the browser's debugger counts it. */
import type { Page } from "playwright-core";

const EVERY_MS = 100;

export interface WorkerMemory {
  /** The most that one worker held so far, bytes: objects, and the buffers behind typed arrays. */
  peak(): number;
  stop(): void;
}

/** Watches every worker that the page starts from now on. */
export async function watchWorkerMemory(page: Page): Promise<WorkerMemory> {
  const session = await page.context().newCDPSession(page);
  const workers = new Set<string>();
  let peak = 0;
  session.on("Target.attachedToTarget", ({ sessionId }) => workers.add(sessionId));
  session.on("Target.detachedFromTarget", ({ sessionId }) => workers.delete(sessionId));
  session.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { usedSize = 0, embedderHeapUsedSize = 0, backingStorageSize = 0 } = JSON.parse(message).result ?? {};
    peak = Math.max(peak, usedSize + embedderHeapUsedSize + backingStorageSize);
  });
  await session.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const message = JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" });
  const timer = setInterval(() => {
    // A worker may be gone before the question reaches it.
    for (const sessionId of workers) session.send("Target.sendMessageToTarget", { sessionId, message }).catch(() => {});
  }, EVERY_MS);
  return { peak: () => peak, stop: () => clearInterval(timer) };
}
