"""Look at safetensors files without loading them: what they hold, and whether all of it has arrived.

Nothing in them is trusted: sizes are bounded, names stay inside the folder, numbers must be numbers.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, JsonValue, NonNegativeInt, TypeAdapter, ValidationError

# The format's own limit for a header; an index of 200,000 tensors has a fifth of it.
LONGEST_JSON = 100_000_000
_NAMES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
_PART = re.compile(r"(.+)-\d+-of-(\d+)\.safetensors")
# vLLM makes fp8 of linear layers; embeddings and the last layer (by Mistral's name, and by HF's) stay as they are.
_KEPT = ("embed", "output.weight", "lm_head")


class Tensor(BaseModel):
    """One entry of a file's header."""

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.data_offsets[1] - self.data_offsets[0]


class _Metadata(BaseModel):
    total_size: NonNegativeInt | None = None


class _Index(BaseModel):
    metadata: _Metadata = _Metadata()
    weight_map: dict[str, str]


_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
_HEADER: TypeAdapter[dict[str, Tensor]] = TypeAdapter(dict[str, Tensor])


@dataclass(frozen=True, slots=True)
class Weights:
    """What a folder's weight files hold.

    Attributes:
        size: Bytes of all tensors; None where unknown, as files are missing.
        fp8: Bytes of them with the linear layers in fp8; None where unknown.
        parameters: How many numbers; None where unknown, or where several are packed into one.
        precision: What most of them are in; None where unknown.
        problems: What is missing, cut short or can't be read.
    """

    size: int | None
    fp8: int | None
    parameters: int | None
    precision: str | None
    problems: tuple[str, ...]


def inspect(folder: Path, prefix: str) -> Weights:
    """Read the headers of a folder's weight files.

    Args:
        folder: Where they are.
        prefix: How their names begin: "consolidated" in Mistral's format, "model" in Hugging Face's.
    """
    problems: list[str] = []
    total, names = _listed(folder, prefix, problems)
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            tensors |= _header(folder / name)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {_told(error)}")
    if problems or not names:
        return Weights(total, None, None, None, tuple(problems) or (f"there is no {prefix}*.safetensors",))
    sizes = Counter[str]()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.size
    size = sizes.total()
    usual = max(sizes, key=lambda dtype: sizes[dtype])
    plain = usual in _NAMES
    return Weights(
        size=size,
        fp8=sum(_in_fp8(name, tensor) for name, tensor in tensors.items()) if plain else size,
        parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()) if plain else None,
        precision=_NAMES.get(usual, usual.lower()),
        problems=(),
    )


def read_json(path: Path) -> bytes:
    """Read a small file.

    Raises:
        ValueError: It is no plain file, or too large.
        OSError: It can't be read.
    """
    if not path.is_file():  # a pipe or a device would never end
        raise ValueError("is no file" if path.exists() else "is not there")
    if path.stat().st_size > LONGEST_JSON:
        raise ValueError(f"has more than {LONGEST_JSON:,} bytes")
    return path.read_bytes()


def _listed(folder: Path, prefix: str, problems: list[str]) -> tuple[int | None, list[str]]:
    """Return the bytes that the index tells of, if any, and the names of the files."""
    index = folder / f"{prefix}.safetensors.index.json"
    if not index.exists():
        names = sorted(path.name for path in folder.glob(f"{prefix}*.safetensors"))
        problems += _absent(names)
        return None, names
    try:
        read = _Index.model_validate_json(read_json(index))
    except (OSError, ValueError) as error:
        problems.append(f"{index.name}: {_told(error)}")
        return None, []
    names = sorted(set(read.weight_map.values()))
    for name in names:
        if Path(name).name != name or not name.isprintable():
            problems.append(f"{index.name} names a file {name!r}, which is no plain name")
            return None, []
    return read.metadata.total_size, names


def _absent(names: list[str]) -> Iterator[str]:
    parts = Counter(found.groups() for found in map(_PART.fullmatch, names) if found)
    for (stem, of), count in parts.items():
        if count < int(of):
            yield f"{int(of) - count} of the {int(of)} files {stem}-...-of-{of}.safetensors are missing"


def _header(path: Path) -> dict[str, Tensor]:
    """Read a safetensors header: its length in 8 bytes, JSON, then the tensors (the format's README).

    Raises:
        ValueError: It is damaged, or the file is shorter or longer than it says.
        OSError: It can't be read.
    """
    if not path.is_file():
        raise ValueError("is no file" if path.exists() else "is not there")
    with path.open("rb") as file:
        whole = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_JSON, whole - 8):
            raise ValueError(f"is no safetensors file, or cut short: it has {whole:,} bytes")
        text = file.read(length)
    read = _OBJECT.validate_json(text)
    read.pop("__metadata__", None)
    tensors = _HEADER.validate_python(read)
    expected = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if whole != expected:
        raise ValueError(f"has {whole:,} of {expected:,} bytes")
    return tensors


def _in_fp8(name: str, tensor: Tensor) -> int:
    if len(tensor.shape) < 2 or any(part in name for part in _KEPT):
        return tensor.size
    return min(tensor.size, math.prod(tensor.shape))


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"can't be understood: {'.'.join(map(str, first['loc']))} {first['msg']}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
