export interface Support {
  supported: boolean;
  /** What is missing and what would help, in plain words; absent where nothing is missing. */
  reason?: string;
}

/** Looks for a GPU without claiming it. */
export async function isSupported(gpu: GPU | undefined, secure: boolean): Promise<Support> {
  if (!secure) return no("WebGPU works only on secure pages. Open this page over https:// or from localhost.");
  if (!gpu) return no("This browser has no WebGPU. A current Chrome, Edge, Safari or Firefox has it.");
  const gpuAdapter = await gpu.requestAdapter().catch(() => null);
  if (!gpuAdapter) {
    return no(
      "The browser has WebGPU but gives no GPU. Turn on hardware acceleration in its settings, or update the GPU driver.",
    );
  }
  return { supported: true };
}

const no = (reason: string): Support => ({ supported: false, reason });
