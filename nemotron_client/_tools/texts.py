"""Texts that go between a model and a tool: the arguments that it wrote, what is wrong with them, the tool's result.

Both kinds of tools, those made of a function and those made of a schema, read and tell with what is here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from pydantic import JsonValue

_LONGEST_VALUE = 40
_LONGEST_TEXT = 160
_MOST_PROBLEMS = 5

REQUIRED = "field required"
UNKNOWN = "unknown argument"


class BadArgumentsError(ValueError):
    """Arguments can't be used; the text is made for the model: short, and naming the fields."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: Where, in steps from the whole.
        text: What, so that it can follow the value: ``"should be a valid integer"``.
        value: What is there, as it may be shown; empty if it should not be.
    """

    place: tuple[str | int, ...]
    text: str
    value: str = ""


def read_arguments(text: str) -> dict[str, JsonValue]:
    """Read the JSON object that a call's arguments are.

    Args:
        text: As the model wrote it. Nothing, or null, is no arguments; an object inside a JSON string is unpacked.

    Raises:
        BadArgumentsError: It is cut off, malformed, or no object.
    """
    value = _json(text)
    if isinstance(value, str):
        value = _json(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadArgumentsError(f"the arguments should be a JSON object, not {shown(value)}")
    return value


def _json(text: str) -> JsonValue:
    if not text.strip():
        return None
    try:
        value: JsonValue = from_json(text.encode(), allow_inf_nan=False)
    except ValueError as error:  # of a lone surrogate too
        reason = str(error)
    else:
        return value
    if reason.startswith("EOF"):
        raise BadArgumentsError("the JSON of the arguments ends early, so nothing was run: write the whole call again")
    raise BadArgumentsError(f"the arguments are not valid JSON: {cut(reason)}")


def shown(value: JsonValue) -> str:
    """Write a value so that the model knows which is meant, however large it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return cut(to_json(value).decode(), _LONGEST_VALUE)


def cut(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Shorten a text that is too long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def told(problems: Iterable[Problem]) -> str:
    """Put problems into words for the model: one for each place, and not without end."""
    places: dict[str, tuple[str, list[str]]] = {}
    for problem in problems:
        _, texts = places.setdefault(_path(problem.place), (problem.value, []))
        if problem.text not in texts:
            texts.append(problem.text)
    lines = [
        (f"{cut(place)}: " if place else "") + f"{value} {cut(' or '.join(texts))}".strip()
        for place, (value, texts) in places.items()
    ]
    more = len(lines) - _MOST_PROBLEMS
    return "; ".join([*lines[:_MOST_PROBLEMS], f"and {more} more"] if more > 0 else lines)


def _path(place: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def result_text(value: object) -> str:
    """Write what a tool returned for the model: a string as it is, anything else as JSON.

    Args:
        value: A pydantic model, dataclass, dict, list, date, number, None (``null``), ...; of what JSON can't hold,
            ``str(value)``.
    """
    if isinstance(value, str):
        text = str.__str__(value)  # of an enum too
    else:
        try:
            text = to_json(value, fallback=str).decode()
        except ValueError:  # bytes that are no text, something that holds itself
            text = str(value)
    # Half a surrogate pair could not be sent.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
