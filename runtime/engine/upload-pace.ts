import type { TensorInfo } from "../formats/checkpoint";
import type { Gpu } from "../gpu/device";

export interface LoadOptions {
  /** Leave away the last planes of the least harmful blocks until the linears have so many bits a weight, palettes and scales counted. */
  averageBits?: number;
  /** Stored bytes of the tensors that were read, of those that will be. */
  onProgress?: (loadedBytes: number, totalBytes: number) => void;
  signal?: AbortSignal;
}

/** Uploaded bytes after which the queue is drained, so that staging memory stays bounded. */
const DRAIN_BYTES = 64 * 2 ** 20;

/** Keeps an upload within bounds and its caller informed. */
export class UploadPace {
  private readonly total: number;
  private loaded = 0;
  private undrained = 0;

  /** `tensors`: what will be read. */
  constructor(
    private readonly gpu: Gpu,
    tensors: Iterable<TensorInfo>,
    private readonly options: LoadOptions,
  ) {
    this.total = Array.from(tensors).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** A tensor was read. @throws OchreError of the device; the signal's reason on abort. */
  tensorRead({ bytes }: TensorInfo): void {
    this.loaded += bytes;
    this.gpu.check();
    this.options.onProgress?.(this.loaded, this.total);
    this.options.signal?.throwIfAborted();
  }

  /** So many bytes were written to the GPU: waits for it now and then. */
  async written(bytes: number): Promise<void> {
    this.undrained += bytes;
    if (this.undrained <= DRAIN_BYTES) return;
    await this.gpu.device.queue.onSubmittedWorkDone();
    this.undrained = 0;
  }
}
