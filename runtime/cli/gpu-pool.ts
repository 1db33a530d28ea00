/** Whether the compiler has a GPU beside its threads: `--gpu`. */
import { OchreError } from "../errors";
import { Gpu } from "../gpu/device";
import { gpuPool } from "../palettize/gpu-pool";
import type { CompilerPool } from "../palettize/tasks";
import { requestNodeGpu } from "./gpu";

/** auto: where there is one that is not a software adapter, which is slower than the threads that it would compute on. */
export const GPU_CHOICES = ["auto", "on", "off"] as const;
export type GpuChoice = (typeof GPU_CHOICES)[number];

/**
 * The pool with a GPU beside it. Closing it closes both.
 * @throws OchreError GPU_UNAVAILABLE where a GPU must be there and is not.
 */
export async function withGpu(pool: CompilerPool, choice: GpuChoice): Promise<CompilerPool> {
  if (choice === "off") return pool;
  const gpu = await request(choice === "on").catch(async (error) => {
    await pool.close();
    throw error;
  });
  if (!gpu) return pool;
  return {
    ...gpuPool(gpu, pool),
    close: async () => {
      gpu.destroy();
      await pool.close();
    },
  };
}

async function request(demanded: boolean): Promise<Gpu | undefined> {
  try {
    const gpu = await Gpu.request(await requestNodeGpu(), { powerPreference: "high-performance" });
    if (demanded || !gpu.info.isFallback) return gpu;
    gpu.destroy();
  } catch (error) {
    if (demanded || !(error instanceof OchreError && error.code === "GPU_UNAVAILABLE")) throw error;
  }
  return undefined;
}
