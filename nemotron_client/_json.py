"""What JSON knows: objects, arrays, what can become them, and truth values; and the JSON that stands in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from pydantic import BaseModel, JsonValue

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_OPENING = re.compile(r"[{\[]")
_MOST_OPENINGS = 1000  # each may cost a look at the whole text: the decoder tells the line of an error
_IN_JSON = re.compile(r"[{\[\"]")
_LONGEST_SHOWN = 100  # characters
_LONGEST_TOKEN = 7  # that a decoder refuses at its start if its end is missing: "false", "\\u12ab"


def is_object(value: object) -> TypeIs[Mapping[str, object]]:
    """Tell whether a value is what JSON calls an object."""
    return type(value) is dict or isinstance(value, Mapping)  # asking an abstract class takes long


def is_array(value: object) -> TypeIs[Sequence[object]]:
    """Tell whether a value is what JSON calls an array, or can become one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def is_bool(value: object) -> bool:
    """Tell what comes from elsewhere apart from what would pass for true: "no", or what an async function returns."""
    return isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether a value is what JSON calls a number, which a truth value isn't."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def short(value: object) -> str:
    """Show a value in a few words, as errors do."""
    try:
        text = repr(value)
    except ValueError:  # of a number with more digits than Python writes (sys.set_int_max_str_digits)
        return "<thousands of digits>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


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


@dataclass(slots=True)
class Found:
    """What there is of JSON in an answer, in a code fence, between words or alone.

    Attributes:
        values: Each object and array that stands for itself, and its text.
        begun: The text of one that may lack nothing but its end.
        problem: Why there is nothing, or no more.
    """

    values: list[tuple[JsonValue, str]]
    begun: str = ""
    problem: str = "there is no JSON object in it"


def values_in(text: str) -> Found:
    """Find the JSON in an answer, at a cost linear in its length.

    A bracket that begins no JSON is part of a sentence. JSON that breaks off ends the search, for what comes after its
    beginning is inside of it: a piece of an answer is not the answer.
    """
    found, at = Found([]), 0
    for _ in range(_MOST_OPENINGS):
        opening = _OPENING.search(text, at)
        if opening is None:
            break
        begin = opening.start()
        try:
            value, at = _DECODER.raw_decode(text, begin)
            found.values.append((value, text[begin:at]))
        except json.JSONDecodeError as error:
            found.problem = f"it is not JSON: {error}"
            is_text_open = text[error.pos : error.pos + 1] == '"'
            if is_text_open or len(text) - error.pos < _LONGEST_TOKEN:
                found.begun = text[begin:]
            if is_text_open or _IN_JSON.search(text, begin + 1, error.pos):
                break
            at = max(error.pos, begin + 1)
        except (ValueError, RecursionError) as error:
            found.problem = f"it is not JSON: {error}"
            break
    return found


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not in JSON"
    raise ValueError(msg)


_DECODER = json.JSONDecoder(parse_constant=_refuse)  # Python's own takes NaN
