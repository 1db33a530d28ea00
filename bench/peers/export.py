"""The sample model for ONNX Runtime: GGUF -> Hugging Face layout -> 4-bit ONNX with f32 activations.

    python export.py MODEL.gguf MODEL_FOLDER OUT

MODEL_FOLDER is what Ochre made of the same file: config.json and tokenizer come from there. OUT gets both and
onnx/model_q4.onnx, the layout that transformers.js loads; onnxruntime-web takes the same file. Activations are f32 because
an adapter without shader-f16 can run nothing else.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file

TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def main(gguf: Path, model: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        source, built, whole = (Path(work, name) for name in ["source", "built", "whole"])
        write_source(gguf, model, source)
        # Logits of the last token only, as every engine here computes them; and an f32 table of embeddings, for the wasm backend
        # has no look-up in a quantized one.
        options = ["use_webgpu_fp32=1", "prune_lm_head=1", "shared_embeddings=0"]
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "webgpu"]
        places = ["-i", source, "-o", built, "-c", Path(work, "cache")]
        subprocess.run([*builder, *places, "--extra_options", *options], check=True)
        graph = onnx.load(built / "model.onnx")
        fix_cache_shapes(graph, json.loads((source / "config.json").read_text()))
        # One file, weights inside: what both libraries load without being told of a second one.
        (whole / "onnx").mkdir(parents=True)
        onnx.save_model(graph, whole / "onnx/model_q4.onnx")
        for name in ["config.json", *TOKENIZER]:
            shutil.copy(source / name, whole)
        shutil.rmtree(out, ignore_errors=True)
        whole.rename(out)


def write_source(gguf: Path, model: Path, source: Path) -> None:
    """The checkpoint as transformers would have saved it, in f32."""
    source.mkdir()
    config = json.loads((model / "config.json").read_text())
    del config["quantization_config"]
    (source / "config.json").write_text(json.dumps(config))
    for name in TOKENIZER:
        shutil.copy(model / name, source)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in GGUFReader(gguf).tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            values = restore_rows(values, heads[kind])
        weights[target_name(tensor.name)] = torch.from_numpy(np.array(values, dtype=np.float32))
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})


def fix_cache_shapes(graph: onnx.ModelProto, config: dict) -> None:
    """transformers.js makes the empty cache from these shapes, and takes a dimension that has only a name for 0."""
    for value in [*graph.graph.input, *graph.graph.output]:
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.shape.dim[3].dim_value = config["head_dim"]


def restore_rows(rows: np.ndarray, heads: int) -> np.ndarray:
    """GGUF interleaves the two halves of each query and key head, for rotary embeddings in pairs of neighbours."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def target_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in whole:
        return whole[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[kind]}.weight"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
