/**
 * A GGUF file of the llama architecture as a Hugging Face checkpoint: names, config.json and the order of q and k rows
 * are put back to what they were before llama.cpp's converter; the tokenizer is rebuilt from the metadata.
 */
import { OchreError } from "../errors";
import { tokenizerFromGguf } from "../text/gguf-tokenizer";
import type { ByteSource, Checkpoint, TensorInfo } from "./checkpoint";
import { dequantize } from "./dequantize";
import { parseGgufHeader } from "./gguf-header";
import { brief, formatError, type JsonObject, wholeNumber } from "./json";
import { type StoredTensor, streamTensors } from "./safetensors";

type Metadata = ReadonlyMap<string, unknown>;

/** llama.cpp's tensor names to Hugging Face's. */
const NAMES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};
const LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** What Llama 3.1's scaling divides each RoPE frequency by, [d/2]: llama.cpp's converter stores this instead of the rule. */
const ROPE_DIVISORS = "rope_freqs.weight";
/** The rule as every published Llama 3.1, 3.2 and 3.3 has it; only `factor` differs. */
const LLAMA3 = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

interface GgufTensor extends StoredTensor {
  /** Heads whose rows llama.cpp interleaved for its RoPE; 0 where the rows are as they were. */
  readonly permutedHeads: number;
}

/**
 * Opens a GGUF file; the header is read, tensors are not. `readBytes` and `stream` give q and k rows in Hugging Face order
 * too: rows are whole blocks, so they move as bytes.
 * Throws MODEL_UNSUPPORTED for another architecture, element type or a tensor that a llama model has not, MODEL_FORMAT for damage.
 */
export async function openGguf(source: ByteSource): Promise<Checkpoint> {
  const header = await parseGgufHeader(source);
  const { metadata } = header;
  const config = configFromGguf(source.name, metadata, header.tensors);
  const divisors = header.tensors.find(({ name }) => name === ROPE_DIVISORS);
  if (divisors) config.rope_scaling = llama3Scaling(source.name, config, await readF32(source, divisors));
  const heads = { q: config.num_attention_heads as number, k: config.num_key_value_heads as number };

  const places = new Map<string, GgufTensor>();
  for (const tensor of header.tensors) {
    if (tensor === divisors) continue;
    const name = huggingFaceName(source.name, tensor.name);
    const permutedHeads = name.endsWith(".q_proj.weight") ? heads.q : name.endsWith(".k_proj.weight") ? heads.k : 0;
    if (permutedHeads && (tensor.shape.length !== 2 || tensor.shape[0] % (2 * permutedHeads) !== 0))
      throw formatError(
        source.name,
        `"${tensor.name}" must have an even number of rows for each of ${permutedHeads} heads but is [${tensor.shape}].`,
      );
    places.set(name, { ...tensor, name, permutedHeads });
  }
  const tensors = new Map<string, TensorInfo>();
  for (const { name, dtype, shape, bytes } of places.values()) tensors.set(name, { name, dtype, shape, bytes });

  const readBytes = async (name: string): Promise<Uint8Array> => {
    const place = places.get(name);
    if (!place) throw formatError(source.name, `there is no tensor "${name}".`, { tensor: name });
    return inHuggingFaceOrder(place, await source.read(place.offset, place.bytes));
  };
  return {
    name: source.name,
    files: { config, ...tokenizerFromGguf(metadata) },
    tensors,
    readBytes,
    async read(name) {
      const bytes = await readBytes(name);
      return dequantize(tensors.get(name)!.dtype, bytes);
    },
    async *stream() {
      for await (const { tensor, bytes } of streamTensors(source, [...places.values()]))
        yield { info: tensors.get(tensor.name)!, bytes: inHuggingFaceOrder(tensor, bytes) };
    },
  };
}

function huggingFaceName(file: string, name: string): string {
  const [, layer, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
  const top = /^(\w+)\.weight$/.exec(name)?.[1] ?? "";
  if (layer && Object.hasOwn(LAYER_NAMES, part)) return `model.layers.${Number(layer)}.${LAYER_NAMES[part]}.weight`;
  if (Object.hasOwn(NAMES, top)) return `${NAMES[top]}.weight`;
  throw new OchreError("MODEL_UNSUPPORTED", `[${file}] tensor "${name}" is none of a plain llama model's.`, {
    details: { tensor: name },
  });
}

/**
 * llama.cpp rotates neighbouring pairs, transformers the two halves of a head: its converter moved row
 * `half * d/2 + i` of a head to `2 i + half`. This moves them back.
 */
function inHuggingFaceOrder({ permutedHeads, shape }: GgufTensor, bytes: Uint8Array): Uint8Array {
  if (permutedHeads === 0) return bytes;
  const rows = shape[0];
  const rowBytes = bytes.length / rows;
  const headRows = rows / permutedHeads;
  const out = new Uint8Array(bytes.length);
  for (let to = 0; to < rows; to++) {
    const row = to % headRows;
    const half = row < headRows / 2 ? 0 : 1;
    const from = to - row + 2 * (row - (half * headRows) / 2) + half;
    out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), to * rowBytes);
  }
  return out;
}

/** config.json as transformers would have written it for this model. */
function configFromGguf(file: string, metadata: Metadata, tensors: readonly StoredTensor[]): JsonObject {
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama")
    throw new OchreError("MODEL_UNSUPPORTED", `[${file}] general.architecture must be llama but is ${brief(architecture)}.`, {
      details: { architecture },
    });
  const splits = metadata.get("split.count") ?? 0;
  if (typeof splits !== "number" || splits > 1)
    throw new OchreError(
      "MODEL_UNSUPPORTED",
      `[${file}] must be one file but is one of ${splits}: join them with llama-gguf-split --merge.`,
    );

  const fields: JsonObject = Object.fromEntries(metadata);
  const hiddenSize = wholeNumber(file, fields, "llama.embedding_length");
  const heads = wholeNumber(file, fields, "llama.attention.head_count");
  const headDim = wholeNumber(file, fields, "llama.attention.key_length", { fallback: hiddenSize / heads });
  for (const field of ["llama.attention.value_length", "llama.rope.dimension_count"])
    if ((fields[field] ?? headDim) !== headDim)
      throw new OchreError(
        "MODEL_UNSUPPORTED",
        `[${file}] ${field} must be the head size, ${headDim}, but is ${brief(fields[field])}.`,
      );

  const scaling = fields["llama.rope.scaling.type"] ?? "none";
  const embedding = tensors.find(({ name }) => name === "token_embd.weight");
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: hiddenSize,
    intermediate_size: wholeNumber(file, fields, "llama.feed_forward_length"),
    num_hidden_layers: wholeNumber(file, fields, "llama.block_count"),
    num_attention_heads: heads,
    num_key_value_heads: wholeNumber(file, fields, "llama.attention.head_count_kv", { fallback: heads }),
    head_dim: headDim,
    max_position_embeddings: wholeNumber(file, fields, "llama.context_length"),
    rms_norm_eps: shortest(fields["llama.attention.layer_norm_rms_epsilon"]) ?? 1e-5,
    rope_theta: shortest(fields["llama.rope.freq_base"]) ?? 10000,
    rope_scaling: scaling === "none" ? null : { rope_type: scaling },
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: !tensors.some(({ name }) => name === "output.weight"),
    vocab_size: embedding?.shape[0] ?? wholeNumber(file, fields, "llama.vocab_size"),
    bos_token_id: fields["tokenizer.ggml.bos_token_id"] ?? null,
    eos_token_id: fields["tokenizer.ggml.eos_token_id"] ?? null,
    pad_token_id: fields["tokenizer.ggml.padding_token_id"] ?? null,
  };
}

async function readF32(source: ByteSource, { name, dtype, offset, bytes }: StoredTensor): Promise<Float32Array> {
  if (dtype !== "F32") throw formatError(source.name, `"${name}" must be F32 but is ${dtype}.`);
  return dequantize(dtype, await source.read(offset, bytes));
}

/** The rule back from the divisors, which must then follow from it. */
function llama3Scaling(file: string, config: JsonObject, divisors: Float32Array): JsonObject {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: context } = LLAMA3;
  const factor = divisors.reduce((most, divisor) => Math.max(most, divisor), 1);
  const expected = divisors.map((_, i) => {
    const wavelength = 2 * Math.PI * (config.rope_theta as number) ** (i / divisors.length);
    const blend = Math.min(1, Math.max(0, (context / wavelength - low) / (high - low)));
    return 1 / ((1 - blend) / factor + blend);
  });
  if (2 * divisors.length !== config.head_dim || !divisors.every((divisor, i) => Math.abs(divisor / expected[i] - 1) < 1e-3))
    throw new OchreError("MODEL_UNSUPPORTED", `[${file}] "${ROPE_DIVISORS}" must follow Llama 3.1's rule but does not.`);
  return { ...LLAMA3, factor };
}

/** The decimal that an f32 was written from: 0.00001 rather than 0.000009999999747378752. */
const shortest = (value: unknown): number | undefined => (typeof value === "number" ? Number(value.toPrecision(7)) : undefined);
