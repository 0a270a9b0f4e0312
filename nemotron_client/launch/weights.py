"""Look into a folder's large files without loading them: what they hold, and whether all of it has arrived.

Nothing in them is trusted: sizes are bounded, names stay inside the folder, numbers must be numbers.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

# The safetensors format's own limit for a header; an index of 200,000 tensors, or a tokenizer, has a fifth of it.
_LONGEST_HEADER = 100_000_000
_POINTER = b"version https://git-lfs.github.com/spec/"  # what a clone without Git LFS has in place of large files
# Names and bytes of each number, where a number isn't packed with others.
_TYPES = {"BF16": ("bf16", 2), "F16": ("fp16", 2), "F32": ("fp32", 4), "F8_E4M3": ("fp8", 1), "F8_E5M2": ("fp8", 1)}
_PART = re.compile(r"(.+)-\d+-of-(\d+)\.safetensors")
# Embeddings and the output head, by Mistral's names and by Hugging Face's.
_EMBEDDINGS, _HEAD = ("tok_embeddings.", "embed_tokens."), ("output.weight", "lm_head.")
_KEPT = ("embed", *_HEAD)  # vLLM makes fp8 of linear layers; these stay as they are


_Size = Annotated[int, Field(ge=0, lt=2**63)]


class Tensor(BaseModel):
    """One entry of a file's header."""

    dtype: str
    shape: list[_Size]
    data_offsets: tuple[_Size, _Size]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.data_offsets[1] - self.data_offsets[0]


class _Metadata(BaseModel):
    total_size: _Size | None = None


class _Index(BaseModel):
    metadata: _Metadata = _Metadata()
    weight_map: dict[str, str]


class _Tekken(BaseModel):
    config: dict[str, JsonValue]


class _Tokenizer(BaseModel):
    model: dict[str, JsonValue]


_TOKENIZERS: dict[str, type[BaseModel]] = {"tekken.json": _Tekken, "tokenizer.json": _Tokenizer}
_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
_HEADER: TypeAdapter[dict[str, Tensor]] = TypeAdapter(dict[str, Tensor])


@dataclass(frozen=True, slots=True)
class Weights:
    """What a folder's weight files hold.

    Attributes:
        size: Bytes of all tensors; None where unknown, as files are missing.
        fp8: Bytes of them with the linear layers in fp8; None where unknown.
        parameters: How many numbers; None where unknown, or where several are packed into one.
        precision: What most of them are in, "packed" if several are in one number; None where unknown.
        embeddings: Bytes of the input embeddings; 0 where unknown.
        head: Bytes of the output head; 0 where unknown, or where the embeddings serve for it.
        problems: What is missing, cut short or can't be read.
    """

    size: int | None = None
    fp8: int | None = None
    parameters: int | None = None
    precision: str | None = None
    embeddings: int = 0
    head: int = 0
    problems: tuple[str, ...] = ()


def inspect(folder: Path, prefix: str) -> Weights:
    """Read the headers of a folder's weight files.

    Args:
        folder: Where they are.
        prefix: How their names begin: "consolidated" in Mistral's format, "model" in Hugging Face's.
    """
    problems: list[str] = []
    index = _index(folder / f"{prefix}.safetensors.index.json", problems)
    names = sorted(set(index.weight_map.values())) if index else _found(folder, prefix, problems)
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            tensors |= _header(folder / name)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {told(error)}")
    if index and not problems:
        absent = index.weight_map.keys() - tensors.keys()
        problems += (
            [f"the index names tensors that no file holds: {min(absent)!r}, {len(absent):,} in all"] if absent else []
        )
        problems += ["the index names no files"] if not names else []
    if problems:
        return Weights(index.metadata.total_size if index else None, problems=tuple(problems))
    return _measured(tensors)


def inspect_tokenizer(path: Path) -> str | None:
    """Say why a tokenizer's file can't be used; None if nothing is seen."""
    try:
        text = read_whole(path, _LONGEST_HEADER)
        if path.name in _TOKENIZERS:
            _TOKENIZERS[path.name].model_validate_json(text)
    except (OSError, ValueError) as error:
        return f"{path.name}: {told(error)}"
    return None


def read_whole(path: Path, longest: int) -> bytes:
    """Read a small file.

    Args:
        path: Which.
        longest: How many bytes it may have.

    Raises:
        ValueError: It is no plain file, empty, too large, or not the file itself.
        OSError: It can't be read.
    """
    size = _size(path)
    if not 0 < size <= longest:
        raise ValueError(f"has more than {longest:,} bytes" if size else "is empty")
    return _itself(path.read_bytes())


def told(error: Exception) -> str:
    """Say in a few words why a file can't be used."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return (
            f"can't be understood: {where[:100]!r}: {first['msg']}" if where else f"can't be understood: {first['msg']}"
        )
    if isinstance(error, FileNotFoundError):  # it was listed, or named by the index
        return "is not there, or is a link to what is not there"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _itself(text: bytes) -> bytes:
    if text.startswith(_POINTER):
        raise ValueError("is a pointer of Git LFS in place of the file (`git lfs pull` fetches it)")
    return text


def _measured(tensors: dict[str, Tensor]) -> Weights:
    sizes = Counter[str]()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.size
    usual, size = max(sizes, key=lambda dtype: sizes[dtype]), sizes.total()
    embeddings, head = (
        sum(tensor.size for name, tensor in tensors.items() if any(part in name for part in parts))
        for parts in (_EMBEDDINGS, _HEAD)
    )
    if usual not in _TYPES:
        return Weights(size, size, None, "packed", embeddings, head)
    parameters = sum(tensor.size // _bytes(tensor) for tensor in tensors.values())
    fp8 = sum(map(_in_fp8, tensors, tensors.values()))
    return Weights(size, fp8, parameters, _TYPES[usual][0], embeddings, head)


def _index(path: Path, problems: list[str]) -> _Index | None:
    if not os.path.lexists(path):
        return None
    try:
        index = _Index.model_validate_json(read_whole(path, _LONGEST_HEADER))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {told(error)}")
        return _Index(weight_map={})
    for name in index.weight_map.values():
        if Path(name).name != name or not name.isprintable():
            problems.append(f"{path.name} names a file {name!r}, which is no plain name")
            return _Index(weight_map={})
    return index


def _found(folder: Path, prefix: str, problems: list[str]) -> list[str]:
    names = sorted(path.name for path in folder.glob(f"{prefix}*.safetensors"))
    problems += _absent(names) if names else [f"there is no {prefix}*.safetensors"]
    return names


def _absent(names: list[str]) -> Iterator[str]:
    parts = Counter(found.groups() for found in map(_PART.fullmatch, names) if found)
    for (stem, of), count in parts.items():
        if count < int(of):
            yield f"{int(of) - count} of the {int(of)} files {stem}-...-of-{of}.safetensors are missing"


def _size(path: Path) -> int:
    """Return the bytes of a plain file; a pipe or a device would never end."""
    found = path.stat()
    if not S_ISREG(found.st_mode):
        raise ValueError("is no file")
    return found.st_size


def _header(path: Path) -> dict[str, Tensor]:
    """Read a safetensors header: its length in 8 bytes, JSON, then the tensors (the format's README).

    Raises:
        ValueError: It is damaged, or the file is shorter or longer than it says.
        OSError: It can't be read.
    """
    whole = _size(path)
    with path.open("rb") as file:
        length = int.from_bytes(_itself(file.read(len(_POINTER)))[:8], "little")
        file.seek(8)
        if not 2 <= length <= min(_LONGEST_HEADER, whole - 8):
            raise ValueError(f"is no safetensors file, or cut short: it has {whole:,} bytes")
        text = file.read(length)
    read = _OBJECT.validate_json(text)
    read.pop("__metadata__", None)
    tensors = _HEADER.validate_python(read)
    end = 0
    for tensor in sorted(tensors.values(), key=lambda each: each.data_offsets):
        if tensor.data_offsets[0] != end or tensor.size < 0:
            raise ValueError("is damaged: its tensors don't follow one another")
        end = tensor.data_offsets[1]
    if not end:
        raise ValueError("holds no weights")
    if whole != 8 + length + end:
        raise ValueError(f"has {whole:,} of {8 + length + end:,} bytes")
    return tensors


def _bytes(tensor: Tensor) -> int:
    return _TYPES[tensor.dtype][1] if tensor.dtype in _TYPES else 1


def _in_fp8(name: str, tensor: Tensor) -> int:
    if len(tensor.shape) < 2 or any(part in name for part in _KEPT):
        return tensor.size
    return tensor.size // _bytes(tensor)
