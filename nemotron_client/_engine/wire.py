"""JSON to bytes, and bytes to models. What a server says when it refuses is read in ``refusals.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from nemotron_client._json import is_array, is_object, plain
from nemotron_client.config import Config, redact, redact_text
from nemotron_client.errors import InvalidRequestError, InvalidResponseError

M = TypeVar("M", bound=BaseModel)

_LONGEST_START = 200


def encode(value: object) -> bytes:
    """Write JSON.

    Args:
        value: What there is to be sent.

    Raises:
        InvalidRequestError: Something in it has no form in JSON; it is named with its place.
    """
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError, of a lone surrogate, is a ValueError
        place, reason = _unencodable(value, "") or ("the request", str(error))
        msg = f"{place} can't be written as JSON: {reason}."
        raise InvalidRequestError(msg, parameter=place) from None


# Made once: json.dumps makes one for each call that sets anything.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)


def _unencodable(value: object, place: str, depth: int = 0) -> tuple[str, str] | None:
    """Find the innermost value that JSON can't hold, and say why."""
    if depth > 100:  # a cycle, or as good as one
        return place.partition(".")[0].partition("[")[0], "it is nested without end"
    children: list[tuple[str, object]] = []
    if is_object(value):
        children = [(f"{place}.{key}" if place else str(key), child) for key, child in value.items()]
    elif is_array(value):
        children = [(f"{place}[{index}]", child) for index, child in enumerate(value)]
    for where, child in children:
        found = _unencodable(child, where, depth + 1)
        if found is not None:
            return found
    try:
        _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return place, "it holds half of a surrogate pair"
    except (TypeError, ValueError) as error:
        return place, str(error)
    return None


_BOM = b"\xef\xbb\xbf"
_ESCAPED_HALF = re.compile(rb"(?<!\\)(?:\\\\)*\\ud[89a-f]", re.IGNORECASE)  # or of a pair, which json joins
_HALF = re.compile("[\ud800-\udfff]")
# What may not be dropped from an answer to make it readable: without it the answer would be another one.
_ESSENTIAL = frozenset(
    {"choices", "message", "delta", "content", "text", "tool_calls", "function", "name", "arguments"}
)


def parse(model: type[M], body: bytes) -> M:
    """Read JSON leniently.

    Nulls in the wrong place and broken side information (``created``, ``usage``, ...) are dropped, arguments that came
    as an object become text again, half of a surrogate pair becomes U+FFFD; a broken essential is an error.

    Args:
        model: What it should be.
        body: The bytes.

    Raises:
        ValueError: It isn't JSON, or not of that shape; the text says what is wrong where.
    """
    body = body.removeprefix(_BOM)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        whole = _without_halves(body)
        if whole is None:
            raise ValueError(problems[0]["msg"])
        return parse(model, whole)
    data: JsonValue = json.loads(body)
    for problem in problems:
        _mend(data, problem["loc"])
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def _without_halves(body: bytes) -> bytes | None:
    """Replace halves of surrogate pairs, which servers leave that cut a text anywhere; None if JSON has none."""
    if _ESCAPED_HALF.search(body) is None:
        return None
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return _HALF.sub("\ufffd", text).encode()


def _mend(data: JsonValue, place: tuple[int | str, ...]) -> None:
    """Drop or convert what was wrong at a place, if the answer stays the same answer without it."""
    for step in place[:-1]:
        if isinstance(data, list) and isinstance(step, int):
            data = data[step]
        else:
            data = data.get(str(step)) if isinstance(data, dict) else None
    key = place[-1] if place else ""
    if not isinstance(data, dict) or not isinstance(key, str) or key not in data:
        return
    value = data[key]
    if key == "id" and isinstance(value, int):
        data[key] = str(value)
    elif value is None or key not in _ESSENTIAL:
        del data[key]
    elif key == "arguments" and isinstance(value, dict | list):
        data[key] = json.dumps(value, ensure_ascii=False)


def read(config: Config, model: type[M], body: bytes, what: str) -> M:
    """Read a 200 of a route beside the completions, as :func:`parse`.

    Args:
        config: The settings of the client that asked.
        model: What it should be.
        body: The bytes.
        what: The same in words.

    Raises:
        InvalidResponseError: It is something else.
    """
    try:
        return parse(model, body)
    except ValueError as error:
        why = f"{what}: {error}"
    # Not in the handler: what it handles would hold on to frames that have the body.
    raise not_expected(body, why, config.own_headers)


def not_expected(body: bytes, why: str, headers: Mapping[str, str]) -> InvalidResponseError:
    """Say that a 200 isn't what was asked for, showing its start.

    Args:
        body: As it came.
        why: What it isn't, and why.
        headers: The request's, whose secrets are shown nowhere.
    """
    text = redact(body, headers).decode("utf-8-sig", "replace").strip()
    why = redact_text(why, headers)
    if not text:
        message, hint = "The server said 200 with an empty body.", "The server or a proxy is failing; try again later."
    elif text.startswith("<"):
        message = "The server said 200 with an HTML page."
        hint = "base_url leads to a web site or a proxy's login page, not to the API."
    else:
        message, hint = f"The server said 200, but its answer is not {why}.", None
    start = text if len(text) <= _LONGEST_START else f"{text[:_LONGEST_START]}..."
    return InvalidResponseError(f"{message} It begins: {start!r}" if text else message, body=text, hint=hint)
