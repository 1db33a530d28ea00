/** The pool of the compiler and of recovery over Node's worker threads. The bundle is its own thread's entry: see main.ts. */
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { inlinePool } from "../compute/pool";
import { type ErrorCode, OchreError } from "../errors";
import { type RecoverPool, recoverTasks } from "../recover/tasks";

/** What tells a thread of this pool from others. */
const ROLE = "ochre-thread";

type Failure = { code?: ErrorCode; message: string; details?: Record<string, unknown> };
type Request = { name: string; input: unknown };
type Reply = { output: unknown } | { failure: Failure };

export const MAX_THREADS = 64;

export const defaultThreads = (): number => Math.min(MAX_THREADS, availableParallelism());

export const isThread = (): boolean => !isMainThread && workerData === ROLE;

/** A thread's whole life: it runs tasks until the pool closes. */
export function serveTasks(): void {
  const table: Record<string, (input: never) => unknown> = recoverTasks;
  parentPort?.on("message", ({ name, input }: Request) => {
    let reply: Reply;
    try {
      reply = { output: table[name](input as never) };
    } catch (error) {
      reply = { failure: failureOf(error) };
    }
    parentPort?.postMessage(reply, "output" in reply ? ownBuffers(reply.output) : []);
  });
}

const failureOf = (error: unknown): Failure => {
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof OchreError ? { code: error.code, message, details: error.details } : { message };
};

/** Buffers in an output's members, which move instead of being copied. */
function ownBuffers(output: unknown): ArrayBuffer[] {
  const buffers = Object.values(output ?? {}).map((member) => (ArrayBuffer.isView(member) ? member.buffer : undefined));
  return [...new Set(buffers)].filter((buffer) => buffer instanceof ArrayBuffer);
}

interface Job extends Request {
  resolve: (output: never) => void;
  reject: (reason: unknown) => void;
}

/**
 * @param threads 1 needs none beside the caller's.
 * @param signal Its abort ends the threads, and every task rejects with its reason.
 * @param entry A file that calls `serveTasks`; default the bundle that this is part of. From sources, which Node cannot start, all runs
 *   on the caller's thread.
 */
export function makePool(threads: number, signal?: AbortSignal, entry = bundleEntry()): RecoverPool {
  return threads > 1 && entry ? threadPool(threads, entry, signal) : inlinePool(recoverTasks);
}

/** A pool for as long as `work` takes. */
export async function withPool<T>(threads: number, signal: AbortSignal, work: (pool: RecoverPool) => Promise<T>): Promise<T> {
  const pool = makePool(threads, signal);
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}

const bundleEntry = (): URL | undefined => (import.meta.url.endsWith(".js") ? new URL(import.meta.url) : undefined);

function threadPool(threads: number, entry: URL, signal?: AbortSignal): RecoverPool {
  const queue: Job[] = [];
  const running = new Map<Worker, Job>();
  const idle: Worker[] = [];
  let ended: { reason: unknown } | undefined;

  const workers = Array.from({ length: threads }, () => {
    const worker = new Worker(entry, { workerData: ROLE });
    worker.on("message", (reply: Reply) => {
      const job = running.get(worker);
      running.delete(worker);
      idle.push(worker);
      if ("output" in reply) job?.resolve(reply.output as never);
      else job?.reject(errorOf(job.name, reply.failure));
      next();
    });
    worker.on("error", (cause) => end(died(String(cause), cause)));
    worker.on("exit", (code) => end(died(`exit code ${code}`)));
    idle.push(worker);
    return worker;
  });

  /** Rejects what is asked for and what will be; the first reason stays. */
  const end = (reason: unknown): void => {
    if (ended) return;
    ended = { reason };
    for (const job of [...running.values(), ...queue]) job.reject(reason);
    running.clear();
    queue.length = 0;
    signal?.removeEventListener("abort", abort);
    for (const worker of workers) void worker.terminate();
  };
  const abort = () => end(signal?.reason);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();

  const next = (): void => {
    while (queue.length > 0 && idle.length > 0) {
      const [worker, job] = [idle.pop()!, queue.shift()!];
      running.set(worker, job);
      worker.postMessage({ name: job.name, input: job.input });
    }
  };
  const share = (values: Float32Array): Float32Array => {
    if (values.buffer instanceof SharedArrayBuffer) return values;
    const shared = floats(values.length);
    shared.set(values);
    return shared;
  };

  return {
    threads,
    run: (name, input) =>
      new Promise((resolve, reject) => {
        if (ended) reject(ended.reason);
        else queue.push({ name, input, resolve, reject });
        next();
      }),
    floats,
    share,
    close: async () => {
      end(new OchreError("DISPOSED", "[threads] the pool is closed: make another for more work."));
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

const floats = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(length * 4));

const died = (how: string, cause?: unknown): OchreError =>
  new OchreError("INTERNAL", `[threads] a thread must live until its pool closes but ended with ${how}.`, { cause });

const errorOf = (task: string, { code, message, details }: Failure): OchreError =>
  code ? new OchreError(code, message, { details }) : new OchreError("INTERNAL", `[threads] the task ${task} failed: ${message}`);
