/**
 * The compiler's threads with a GPU beside them: moments, palettes and codes are its, layers and factors stay theirs. What is coded
 * without inputs is theirs too, a pass over the weights that costs less than their upload, and so are elastic codes.
 */
import type { Gpu } from "../gpu/device";
import { codeBlocksOnGpu } from "./gpu-coder";
import { addMomentsOnGpu } from "./gpu-moments";
import type { CodeTask, CompilerPool, MomentsTask } from "./tasks";

/** The pool is the caller's to close, and so is the GPU. Its tasks throw GPU_LOST and GPU_MEMORY besides. */
export function gpuPool(gpu: Gpu, pool: CompilerPool): CompilerPool {
  let last: Promise<unknown> = Promise.resolve();
  /** One at a time, so that only one task's buffers are there. */
  const inTurn = <T>(task: () => Promise<T>): Promise<T> => {
    const turn = last.then(task, task);
    last = turn;
    return turn;
  };
  const run = (name: string, input: unknown): Promise<unknown> => {
    if (name === "moments") {
      const { moments, x, tokens } = input as MomentsTask;
      return inTurn(() => addMomentsOnGpu(gpu, moments, x, tokens));
    }
    const { weight, bits, cols, inputs, elastic } = input as CodeTask & { elastic?: boolean };
    if (name === "code" && inputs && !elastic) return inTurn(() => codeBlocksOnGpu(gpu, weight, bits, cols, inputs));
    return pool.run(name as "layer", input as never);
  };
  return {
    threads: pool.threads,
    wholeTasks: true,
    run: run as CompilerPool["run"],
    floats: (length) => pool.floats(length),
    share: (values) => pool.share(values),
    close: () => pool.close(),
  };
}
