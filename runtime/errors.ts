/**
 * The one error class of Ochre. `code` is a closed union, so a page can switch on it; the message
 * says who failed, what must hold, what came instead and what to do about it.
 */
export const ERROR_CODES = [
  /** No WebGPU, no adapter, or an adapter without the limits that the kernels need. */
  "GPU_UNAVAILABLE",
  /** The device was lost (driver reset, tab in the background, GPU unplugged). */
  "GPU_LOST",
  /** The GPU refused an allocation. */
  "GPU_MEMORY",
  /** A kernel was given a shape that it cannot compute. */
  "KERNEL_SHAPE",
  /** A file is not what its format says: truncated, lying header, impossible value. */
  "MODEL_FORMAT",
  /** The file is sound but asks for something that this version does not do. */
  "MODEL_UNSUPPORTED",
  /** An adapter was made for another model: its tensors do not fit this one's linears. */
  "ADAPTER_MISMATCH",
  /** The tokenizer does not belong to the model, or cannot be read. */
  "TOKENIZER_MISMATCH",
  /** Bytes arrived whole but their SHA-256 is not the one in the index. */
  "CHECKSUM",
  /** The network failed or the server answered with an error. */
  "DOWNLOAD_FAILED",
  /** IndexedDB has no room for the model. */
  "STORE_QUOTA",
  /** IndexedDB cannot be opened (private mode, blocked by another tab, disabled). */
  "STORE_BLOCKED",
  /** The prompt does not fit in the context window. */
  "CONTEXT_FULL",
  /** The caller passed an option that makes no sense. */
  "INVALID_ARGUMENT",
  /** The model or session was used after dispose() or destroy(). */
  "DISPOSED",
  /** A defect in Ochre itself. */
  "INTERNAL",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface OchreErrorOptions {
  /** Machine-readable facts behind the message, structured-clonable. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

export class OchreError extends Error {
  override readonly name = "OchreError";
  readonly code: ErrorCode;
  readonly details: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, { details = {}, cause }: OchreErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}
