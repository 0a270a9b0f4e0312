"""The lines of a script: short ways to say what is answered. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, islice

from nemotron_client._json import is_array, is_object, short
from nemotron_client.testing.answers import DONE, Answer, failure, words
from nemotron_client.testing.recorded import RecordedRequest
from nemotron_client.testing.replies import End, Reply, Replying, error


def text(content: str, *, finish_reason: str = "stop", usage: Mapping[str, object] | None = None) -> Answer:
    """Answer with a text."""
    return Answer(text=content, finish_reason=finish_reason, usage=usage or {})


def tool_calls(*calls: tuple[str, Mapping[str, object] | str], text: str = "") -> Answer:
    """Answer with tool calls, each a name and its arguments; a str of arguments is sent as it is, however broken.

    Raises:
        TypeError: One of them is something else.
    """
    return Answer(text=text, tool_calls=tuple(_called(call, number) for number, call in enumerate(calls)))


def cut(answer: Answer | str, *, after: int, end: End = "cut") -> Replying:
    """Break an answer off: a stream after so many chunks (the role's is the first), a body before its end is told.

    Raises:
        TypeError: It is no answer.
    """
    whole = text(answer) if isinstance(answer, str) else answer
    if not callable(whole):
        raise TypeError(f"cut(...) is given {short(whole)}: give a text, or an answer such as tool_calls(...).")

    def respond(request: RecordedRequest) -> Reply:
        reply = whole(request)
        return replace(reply, end=end, chunks=None if reply.chunks is None else islice(reply.chunks, after))

    return respond


def stream_error(status: int, message: str, *, type: str | None = None, text: str = "") -> Replying:
    """Fail inside a stream that began with 200, after that text; without a stream, with the error's own status."""
    return begun(error(status, message, type=type), text)


def begun(refusal: Reply, text: str = "") -> Replying:
    """Refuse inside a stream that began with 200, after that text; without a stream, as it is."""

    def respond(request: RecordedRequest) -> Reply:
        reply = Answer(text=text)(request)
        if reply.chunks is None:
            return refusal
        before = islice(reply.chunks, 1 + len(words(text)) if text else 0)
        return replace(reply, chunks=chain(before, [failure(refusal), DONE]))

    return respond


def _called(call: object, number: int) -> tuple[str, str]:
    if is_array(call) and len(call) == 2:
        name, given = call
        if isinstance(name, str) and isinstance(given, str):
            return name, given
        if isinstance(name, str) and is_object(given):
            return name, json.dumps(given, ensure_ascii=False)
    raise TypeError(
        f"tool_calls(...): argument {number + 1} is {short(call)}. Give a tuple for each call, of the "
        'function\'s name and its arguments: tool_calls(("get_weather", {"city": "Paris"})).'
    )
