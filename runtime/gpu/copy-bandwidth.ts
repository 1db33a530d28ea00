/** The device's own copy bandwidth: the yardstick that decoding, which reads every weight once a token, is held to. */

/** Bytes; beyond what caches hold, so that memory is measured. */
const SIZES = [128, 192, 256].map((megabytes) => megabytes * 2 ** 20);
const ROUNDS = 4;
/** A timing takes at least so long, or what it costs to submit would show. */
const TIMING_MS = 20;

/** GB/s, bytes read plus bytes written: best of several sizes and rounds. Undefined where the device has no room to spare. */
export async function measureCopyBandwidth(device: GPUDevice, signal?: AbortSignal): Promise<number | undefined> {
  let best: number | undefined;
  for (const size of SIZES) {
    if (size > device.limits.maxBufferSize) continue;
    const measured = await copyBytesPerSecond(device, size, signal);
    if (measured !== undefined) best = Math.max(best ?? 0, measured / 1e9);
  }
  return best;
}

/** Undefined where the device has no room. */
async function copyBytesPerSecond(device: GPUDevice, size: number, signal?: AbortSignal): Promise<number | undefined> {
  device.pushErrorScope("out-of-memory");
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [from, to] = [0, 1].map((i) => device.createBuffer({ label: `copy bandwidth ${i}`, size, usage }));
  try {
    if (await device.popErrorScope()) return undefined;
    const copy = async (times: number): Promise<number> => {
      signal?.throwIfAborted();
      const encoder = device.createCommandEncoder();
      // There and back, so that no copy can be left out.
      for (let i = 0; i < times; i++)
        encoder.copyBufferToBuffer(...(i % 2 ? ([to, 0, from] as const) : ([from, 0, to] as const)), 0, size);
      const startedAt = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - startedAt;
    };
    await copy(1); // the first touch of the memory
    const times = Math.min(64, Math.max(2, Math.ceil(TIMING_MS / (await copy(1)))));
    let shortest = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) shortest = Math.min(shortest, await copy(times));
    return (1000 * 2 * size * times) / shortest;
  } finally {
    from.destroy();
    to.destroy();
  }
}
