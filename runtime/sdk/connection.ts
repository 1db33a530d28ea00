/** One worker and the calls that wait for it. */
import { type Endpoint, type Remote, wrap } from "comlink";
import { OchreError } from "../errors";
import type { OchreWorker } from "../worker/protocol";
import "../worker/transfer-handlers";

/** What the SDK needs of a Worker; a test passes a port with a `terminate`. */
export interface WorkerLike extends Endpoint {
  terminate(): void;
}

type Send<W, T> = (worker: Remote<W>) => Promise<T>;

/** @typeParam W What the worker exposes. */
export class Connection<W = OchreWorker> {
  readonly #worker: WorkerLike;
  readonly #remote: Remote<W>;
  readonly #pending = new Set<(reason: unknown) => void>();
  #closedBy?: OchreError;
  /** Resolves when the worker dies by itself: a script that does not load, or an error that nobody caught. */
  readonly crashed: Promise<OchreError>;

  constructor(worker: WorkerLike) {
    this.#worker = worker;
    this.#remote = wrap<W>(worker);
    this.crashed = new Promise((resolve) => {
      const onCrash = (event: Event) => {
        const why =
          (event as ErrorEvent).message || "its script could not be loaded; does the page's CSP allow worker-src blob: ?";
        const error = new OchreError("INTERNAL", `[worker] the worker stopped: ${why}`);
        this.close(error);
        resolve(error);
      };
      worker.addEventListener("error", onCrash as EventListener);
      worker.addEventListener("messageerror", onCrash as EventListener);
    });
  }

  /**
   * Sends one call. It settles with the worker's answer, with the signal's own reason as soon as that aborts
   * (whatever the worker does then), or with the error that closes the connection.
   */
  call<T>(send: Send<W, T>, signal?: AbortSignal): Promise<T> {
    if (this.#closedBy) return Promise.reject(this.#closedBy);
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => settle(() => reject(signal?.reason));
      const settle = (done: () => void) => {
        this.#pending.delete(reject);
        signal?.removeEventListener("abort", onAbort);
        done();
      };
      this.#pending.add(reject);
      signal?.addEventListener("abort", onAbort, { once: true });
      send(this.#remote).then(
        (value) => settle(() => resolve(value)),
        (error) => settle(() => reject(error)),
      );
    });
  }

  /**
   * Sends one call that the worker itself aborts: it decides whether the abort came in time, so that page and worker
   * never disagree on what a conversation holds. Rejects with the signal's own reason, not the copy that crossed the wire.
   * @param life rejects at once, like the signal of `call`.
   */
  async callAbortable<T>(send: Send<W, T>, signal?: AbortSignal, life?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await this.call(send, life);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  }

  /** Terminates the worker; what waits, and every later call, rejects with `error`. */
  close(error: OchreError): void {
    if (this.#closedBy) return;
    this.#closedBy = error;
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
    this.#worker.terminate();
  }
}
