/** Work for as many threads as there are. What comes out depends on the tasks alone, never on the number of threads. */

/** Functions of what can be cloned or shared between threads, by name. An output may be what an input shares, filled. */
export type Tasks = Record<string, (input: never) => unknown>;
export type TaskInput<T extends Tasks, Name extends keyof T> = Parameters<T[Name]>[0];
export type TaskOutput<T extends Tasks, Name extends keyof T> = ReturnType<T[Name]>;

export interface Pool<T extends Tasks> {
  readonly threads: number;
  /** Whoever gives it work leaves that in one piece: something else than threads, such as a GPU, works on it. */
  readonly wholeTasks?: boolean;
  /**
   * Runs a task as soon as a thread is free, tasks in the order of the calls. Inputs are copied, all of the buffer below a view; what
   * lies in memory of `floats` or `share` is not.
   * @throws OchreError what the task throws; INTERNAL where its thread dies; DISPOSED after `close`; the pool's signal's reason.
   */
  run<Name extends keyof T & string>(name: Name, input: TaskInput<T, Name>): Promise<TaskOutput<T, Name>>;
  /** Zeros that all threads see. */
  floats(length: number): Float32Array;
  /** The same values where all threads see them. */
  share(values: Float32Array): Float32Array;
  /** Ends the threads, whatever they are doing. */
  close(): Promise<void>;
}

/** All on the caller's own thread, one task after the other. */
export function inlinePool<T extends Tasks>(tasks: T): Pool<T> {
  return {
    threads: 1,
    run: async <Name extends keyof T & string>(name: Name, input: TaskInput<T, Name>) =>
      tasks[name](input as never) as TaskOutput<T, Name>,
    floats: (length) => new Float32Array(length),
    share: (values) => values,
    close: async () => {},
  };
}

/** 0 ..< count cut into at most `parts` runs of about equal length. */
export function runsOf(count: number, parts: number): [from: number, to: number][] {
  const length = Math.max(1, Math.ceil(count / Math.max(1, parts)));
  return Array.from({ length: Math.ceil(count / length) }, (_, i) => [i * length, Math.min(count, (i + 1) * length)]);
}
