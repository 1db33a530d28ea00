/**
 * What every reader yields and every consumer (engine, compiler, reference) takes: a checkpoint in
 * Hugging Face terms, whatever file it came from. Pure interfaces; no I/O here.
 */

/** Random access to bytes: a File, a file handle, an ArrayBuffer, a cached shard. */
export interface ByteSource {
  /** For messages: file name or URL. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`; rejects with MODEL_FORMAT when they are not there. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Element types as safetensors spells them, and the GGUF block types that a reader dequantizes. */
export type DType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U8"
  | "U32"
  | "BOOL"
  | "Q8_0"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "IQ4_NL"
  | "MXFP4"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K";

export interface TensorInfo {
  /** The checkpoint's own name, Hugging Face spelling, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly dtype: DType;
  /** Row-major, outermost first: [rows, cols] for a linear layer. */
  readonly shape: readonly number[];
  /** Stored bytes. */
  readonly bytes: number;
}

/** The JSON files beside the weights, parsed; `undefined` where the checkpoint has none. */
export interface CheckpointFiles {
  /** `config.json` as Hugging Face writes it. A GGUF reader makes it from the metadata. */
  config: Record<string, unknown>;
  tokenizer?: Record<string, unknown>;
  tokenizerConfig?: Record<string, unknown>;
  generationConfig?: Record<string, unknown>;
}

export interface Checkpoint {
  /** For messages and `source` in a palettized config: directory or file name. */
  readonly name: string;
  readonly files: CheckpointFiles;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** One tensor as f32, dequantized, row-major (q/k rows in Hugging Face order). Integer types are converted. */
  read(name: string): Promise<Float32Array>;
  /** One tensor's stored bytes, little-endian. */
  readBytes(name: string): Promise<Uint8Array>;
  /**
   * Every tensor's stored bytes in file order, each file read once: the way to load a model with bounded memory. With `wanted`
   * at least those tensors, and no file that holds none of them.
   */
  stream(wanted?: (name: string) => boolean): AsyncIterable<{ info: TensorInfo; bytes: Uint8Array }>;
}
