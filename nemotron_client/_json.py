"""Tell what JSON knows: objects, arrays, what can become them, and truth values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from typing_extensions import TypeIs


def is_object(value: object) -> TypeIs[Mapping[str, object]]:
    """Tell whether a value is what JSON calls an object."""
    return type(value) is dict or isinstance(value, Mapping)  # asking an abstract class takes long


def is_array(value: object) -> TypeIs[Sequence[object]]:
    """Tell whether a value is what JSON calls an array, or can become one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def is_bool(value: object) -> bool:
    """Tell what comes from elsewhere apart from what would pass for true: "no", or what an async function returns."""
    return isinstance(value, bool)


def plain(value: object) -> object:
    """Turn a value that ``json`` doesn't know into one that it does.

    Raises:
        TypeError: It has no form there.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if is_object(value):
        return dict(value)
    if is_array(value):
        return list(value)
    msg = f"a value of type {type(value).__name__} has no form there"
    raise TypeError(msg)
