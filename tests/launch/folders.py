"""Folders of weights as a user may have them: the smallest safetensors files that are whole."""

import json
from collections.abc import Mapping
from pathlib import Path

PARAMS: Mapping[str, object] = {
    "dim": 128,
    "n_layers": 2,
    "head_dim": 32,
    "n_heads": 4,
    "n_kv_heads": 2,
    "max_position_embeddings": 131_072,
}
CONFIG: Mapping[str, object] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
SIZES = {"BF16": 2, "F8_E4M3": 1, "I32": 4}
TENSORS: Mapping[str, tuple[str, list[int]]] = {
    "tok_embeddings.weight": ("BF16", [8, 4]),
    "layers.0.attention.wq.weight": ("BF16", [4, 4]),
    "norm.weight": ("BF16", [4]),
}


def safetensors(tensors: Mapping[str, tuple[str, list[int]]] = TENSORS) -> bytes:
    """Write the format: the header's length in 8 bytes, the header, the data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def mistral(folder: Path, params: Mapping[str, object] = PARAMS) -> Path:
    """Make a folder in Mistral's format."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tekken.json").write_text('{"config": {}}')
    (folder / "consolidated.safetensors").write_bytes(safetensors())
    return folder


def hugging_face(folder: Path, config: Mapping[str, object] = CONFIG) -> Path:
    """Make a folder in Hugging Face's format, with an index and two parts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(names):
        (folder / name).write_bytes(safetensors({f"layers.{number}.w": ("BF16", [4, 4])}))
    index = {"metadata": {"total_size": 64}, "weight_map": {"layers.0.w": names[0], "layers.1.w": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
