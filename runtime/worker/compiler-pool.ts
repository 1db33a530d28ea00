import { inlinePool } from "../compute/pool";
import { OchreError } from "../errors";
import { Gpu } from "../gpu/device";
import { gpuPool } from "../palettize/gpu-pool";
import { type CompilerPool, tasks } from "../palettize/tasks";

/** What compiles in a worker: its own thread, and the GPU where there is one. A software adapter would only slow it down. */
export async function openCompilerPool(): Promise<CompilerPool> {
  const pool = inlinePool(tasks);
  const gpu = await requestGpu();
  return gpu ? { ...gpuPool(gpu, pool), close: async () => gpu.destroy() } : pool;
}

async function requestGpu(): Promise<Gpu | undefined> {
  const browserGpu = globalThis.navigator?.gpu as GPU | undefined;
  if (!browserGpu) return undefined;
  try {
    const gpu = await Gpu.request(browserGpu, { powerPreference: "high-performance" });
    if (!gpu.info.isFallback) return gpu;
    gpu.destroy();
  } catch (error) {
    if (!(error instanceof OchreError && error.code === "GPU_UNAVAILABLE")) throw error;
  }
  return undefined;
}
