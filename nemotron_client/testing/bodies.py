"""Read the bodies of requests as vLLM does, and say in its words what is wrong with the form of one. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import ChatBody, Detokenized, TextBody, TokenizedChat, TokenizedText
from nemotron_client.testing.message_forms import Calls
from nemotron_client.testing.replies import Reply, error

T = TypeVar("T")
_Fields: TypeAlias = Mapping[str, Any]

_MOST_ROWS = 10
_LONGEST_SHOWN = 200  # characters
# What pydantic says of the branch of a union that it tried, and which vLLM leaves out: so it does with a field that is
# called "arguments".
_BRANCHES = frozenset(
    {
        *("NamedChoice", "ResponseFormat", "StructuralTag", "TokenizedChat", "TokenizedText"),
        *("arguments", "bytes", "float", "int", "str"),
    }
)

_CHAT: TypeAdapter[ChatBody] = TypeAdapter(ChatBody)
_TEXT: TypeAdapter[TextBody] = TypeAdapter(TextBody)
_TOKENIZED: TypeAdapter[TokenizedText | TokenizedChat] = TypeAdapter(TokenizedText | TokenizedChat)
_DETOKENIZED: TypeAdapter[Detokenized] = TypeAdapter(Detokenized)
_CALLS: TypeAdapter[Calls] = TypeAdapter(Calls)


class Malformed(Exception):  # noqa: N818 - a refusal on its way to the client
    """Carry what is told of a body that has another form."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


def chat_body(fields: _Fields) -> ChatBody:
    """Read a body for /v1/chat/completions.

    Raises:
        Malformed: It has another form.
    """
    check_lists(fields)
    body = _read(_CHAT, fields)
    _check_calls(fields["messages"])
    return body


def check_lists(fields: _Fields) -> None:
    """Look for messages and calls that are no list, at which vLLM stumbles before it reads the rest.

    Raises:
        Malformed: There are such.
    """
    for each in [fields.get("messages", ()), *_called(fields)]:
        if each is None or isinstance(each, int | float):
            raise Malformed(error(400, f"'{type(each).__name__}' object is not iterable"))


def _called(fields: _Fields) -> Iterator[object]:
    messages = fields.get("messages")
    for message in messages if is_array(messages) else ():
        if is_object(message):
            yield message.get("tool_calls") or ()


def text_body(fields: _Fields) -> TextBody:
    """Read a body for /v1/completions.

    Raises:
        Malformed: It has another form.
    """
    return _read(_TEXT, fields)


def first(refusals: Iterator[Reply]) -> Reply | None:
    """Return the first refusal, which may be that the body has another form."""
    try:
        return next(refusals, None)
    except Malformed as malformed:
        return malformed.reply


def tokenize_body(fields: _Fields) -> TokenizedText | TokenizedChat:
    """Read a body for /tokenize.

    Raises:
        Malformed: It has another form.
    """
    body = _read(_TOKENIZED, fields)
    if isinstance(body, TokenizedChat):
        _check_calls(fields["messages"])
    return body


def detokenize_body(fields: _Fields) -> Detokenized:
    """Read a body for /detokenize.

    Raises:
        Malformed: It has another form.
    """
    return _read(_DETOKENIZED, fields)


def invalid(where: str, kind: str, message: str, value: object, ctx: object = None) -> Reply:
    """Refuse a body for one thing that is wrong with its form."""
    return _invalid([_row(where, kind, message, value, ctx)], 1, where)


def _check_calls(messages: Sequence[object]) -> None:
    for message in messages:
        calls = message.get("tool_calls") if is_object(message) and message.get("role") == "assistant" else None
        if isinstance(calls, str) or is_object(calls) or is_array(calls):  # which are lists to Python
            _read(_CALLS, [*calls])


def _read(form: TypeAdapter[T], value: object) -> T:
    try:
        return form.validate_python(value, from_attributes=True)
    except ValidationError as wrong:
        # vLLM's own class has the messages first.
        errors = sorted(wrong.errors(include_url=False), key=lambda each: each["loc"][:1] != ("messages",))
    places = [_place(each["loc"]) for each in errors]
    rows = [
        _row(place, each["type"], each["msg"], each["input"], each.get("ctx"))
        for place, each in zip(places, errors[:_MOST_ROWS], strict=False)
    ]
    raise Malformed(_invalid(rows, len(errors), places[0]))


def _place(loc: tuple[str | int, ...]) -> str:
    names = (str(each) for each in loc)
    return ".".join(["body", *(name for name in names if name not in _BRANCHES and not re.search(r"^_|[\[(]", name))])


def _row(where: str, kind: str, message: str, value: object, ctx: object) -> dict[str, object]:
    shown = str(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}...[truncated]"
    if isinstance(value, Sized) and not isinstance(value, str):
        shown = f"<{type(value).__name__} of {len(value)} items>"
    row: dict[str, object] = {"type": kind, "loc": where, "msg": message, "input": shown}
    return row if ctx is None else {**row, "ctx": ctx}


def _invalid(rows: Sequence[_Fields], count: int, where: str) -> Reply:
    more = [] if count == len(rows) else [f"...and {count - len(rows)} more errors"]
    told = "\n  ".join([f"{count} validation error{'s' if count > 1 else ''}:", *map(str, rows), *more])
    return error(400, told, type="Bad Request", param=where)
