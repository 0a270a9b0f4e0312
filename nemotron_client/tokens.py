"""How many tokens a conversation is: Mistral's chat templates around what Tekken makes of each text.

The rules are those of docs/explanation/protocol.md, "Counting tokens". The vocabulary is loaded with the first exact
count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import Literal, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel

from ._json import is_array, is_object, plain
from .errors import ConfigurationError, InvalidRequestError
from .messages import Message, read_message, read_messages

Template: TypeAlias = Literal["v7", "v11", "v13"]
"""A version of Mistral's chat template; they differ as soon as tools are called."""
TEMPLATES: tuple[Template, ...] = get_args(Template)
Tools: TypeAlias = Sequence[Mapping[str, object]]

_Fields: TypeAlias = Mapping[str, object]

_START = 1  # <s>
_AROUND = 2  # [INST] and [/INST], [TOOL_RESULTS] and [/TOOL_RESULTS], ...
_MOST_ADDED = 3  # to a message beside its texts: these two and [TOOL_CONTENT], or an answer's end and a join
_JOIN = "\n\n"
_JOINED = frozenset({"user", "assistant"})  # messages of these that follow each other are one


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a conversation is.

    Attributes:
        total: All of them, the one at the very start included.
        messages: Those of each message, with what the template puts around it. Messages of one role in a row are one
            text to the model, whose tokens are shared out by length.
        tools: Those of the tools' definitions.
        template: The template that was counted with.
    """

    total: int
    messages: tuple[int, ...]
    tools: int
    template: Template


class TokenCounter:
    """Count the tokens of conversations, exactly as mistral-common does; thread-safe.

    A text that was counted lately isn't counted again, so one message more costs that message.
    """

    def __init__(self, template: Template = "v13") -> None:
        """Choose a template; nothing is loaded yet.

        Args:
            template: A version of the chat template; nobody has published which one mistral-nemotron has.

        Raises:
            ConfigurationError: There is no such template.
        """
        if template not in TEMPLATES:
            msg = f"TokenCounter(template={template!r}): give one of {', '.join(TEMPLATES)}."
            raise ConfigurationError(msg)
        self.template: Template = template

    def count(self, messages: str | Sequence[Message], tools: Tools | None = None) -> TokenCount:
        """Count a conversation.

        What isn't text (an image, the reasoning of an earlier answer) is not counted. An assistant's message at the end
        is taken for one that is to be continued: it has no end yet.

        Args:
            messages: The conversation; a string is one user message.
            tools: What is offered with it, in OpenAI's form.

        Raises:
            InvalidRequestError: There is no message, one of them is none, or something has no form in JSON.
        """
        each: list[int] = []
        before, asked = "", False
        for role, group in groupby(read_messages(messages), key=itemgetter("role")):
            if before == "assistant":
                each[-1] += 1  # </s>
            run = list(group)
            if len(run) == 1:
                each.append(self._message(run[0]))
            elif role in _JOINED:
                each += _shared(self._message(_joined(run)), run)
            else:
                each += map(self._message, run)
            before, asked = role, asked or role == "user"
        # Definitions stand before a message of the user's; where there is none, they are left out.
        defined = _AROUND + self._tokens(_definitions(tools)) if tools and asked else 0
        return TokenCount(_START + sum(each) + defined, tuple(each), defined, self.template)

    @staticmethod
    def bound(messages: str | Sequence[Message], tools: Tools | None = None) -> int:
        """Return a number that no template's count exceeds, at next to no cost: nothing is loaded.

        Arguments and errors are those of :meth:`count`.
        """
        return bound(messages, tools)

    @cached_property
    def _tokens(self) -> Callable[[str], int]:
        from ._tekken import count

        return count

    def _message(self, message: _Fields) -> int:
        """Count a message; what ends an answer is left to whoever knows what follows."""
        role, text = message.get("role"), content_text(message)
        if role == "assistant":
            tokens = self._tokens(text.rstrip(" "))
            return tokens + self._calls(_tool_calls(message)) if message.get("tool_calls") else tokens
        if role == "tool" and self.template != "v13":
            return _AROUND + self._tokens(text) + 1 + self._tokens(_answered(message))
        return _AROUND + self._tokens(text)

    def _calls(self, calls: Sequence[_Call]) -> int:
        if self.template == "v7":
            return 1 + self._tokens(_as_v7(calls))
        tokens = sum(2 + self._tokens(call.name) + self._tokens(call.arguments) for call in calls)
        if self.template == "v11":
            tokens += sum(1 + self._tokens(call.id) for call in calls if call.id)
        return tokens


def _joined(run: Sequence[_Fields]) -> _Fields:
    """Make one message of several of one role, as the model is shown them."""
    calls = [call for message in run for call in _array(message.get("tool_calls"))]
    return {"role": run[0]["role"], "content": _JOIN.join(filter(None, map(content_text, run))), "tool_calls": calls}


def _shared(tokens: int, run: Sequence[_Fields]) -> list[int]:
    ends = list(accumulate(map(_most, run), initial=0))
    return [tokens * end // ends[-1] - tokens * start // ends[-1] for start, end in pairwise(ends)]


def bound(messages: object, tools: object) -> int:
    """Bound the tokens of a conversation by its bytes: no text has more tokens than it has bytes in UTF-8."""
    if not is_array(messages) or not messages:
        messages = read_messages(messages)
    most = _START + (_AROUND + size(_definitions(tools)) if tools else 0)
    texts: list[str] = []
    for index, message in enumerate(messages):
        if is_object(message) and len(message) == 2 and isinstance(content := message.get("content"), str):
            texts.append(content)  # most messages are a role and a text, and to encode them together is quick
        else:
            most += _most(read_message(message, index))
    return most + _MOST_ADDED * len(texts) + size("".join(texts))


def _most(message: _Fields) -> int:
    calls = _tool_calls(message)
    called = 1 + size(_as_v7(calls)) if calls else 0  # the longest of the three forms
    return _MOST_ADDED + size(content_text(message)) + called + size(_answered(message))


def size(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))  # tiktoken makes U+FFFD of half a pair: three bytes as well


def content_text(message: _Fields) -> str:
    """Return the text of a message, its parts joined as the templates join them."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = (part.get("text") if is_object(part) else part for part in _array(content))
    return _JOIN.join(text for text in texts if isinstance(text, str) and text)


def _answered(message: _Fields) -> str:
    return str(message.get("tool_call_id") or "")


class _Call(NamedTuple):
    """A tool call as the templates have it: arguments in JSON, no id where there is none."""

    name: str
    arguments: str
    id: str


def _tool_calls(message: _Fields) -> list[_Call]:
    return [_call(_fields(call)) for call in _array(message.get("tool_calls"))]


def _call(call: _Fields) -> _Call:
    function, known_as = _fields(call.get("function")), str(call.get("id") or "")
    arguments = _arguments(function.get("arguments"))
    return _Call(str(function.get("name") or ""), arguments, "" if known_as == "null" else known_as)


def _arguments(value: object) -> str:
    """Write arguments as the templates do: read first, so that ``1e15`` becomes ``1000000000000000.0``."""
    if not isinstance(value, str):
        return _json(value or {}, "the arguments of a tool call")
    try:
        return _ENCODER.encode(json.loads(value or "{}"))
    except (ValueError, RecursionError):  # what is no JSON becomes a string in JSON
        return _ENCODER.encode(value)


def _as_v7(calls: Iterable[_Call]) -> str:
    """Write the calls of an answer as v7 does: all in one text."""
    return f"[{', '.join(map(_call_as_v7, calls))}]"


def _call_as_v7(call: _Call) -> str:
    known_as = f', "id": {_ENCODER.encode(call.id)}' if call.id else ""
    return f'{{"name": {_ENCODER.encode(call.name)}, "arguments": {call.arguments}{known_as}}}'


def _definitions(tools: object) -> str:
    if not is_array(tools):
        msg = f"tools is a {type(tools).__name__}: give a list of tools."
        raise InvalidRequestError(msg, parameter="tools")
    for index, tool in enumerate(tools):
        if not is_object(tool):
            msg = f"tools[{index}] is a {type(tool).__name__}: give its definition as a dict, or use client.tokens."
            raise InvalidRequestError(msg, parameter=f"tools[{index}]")
    return _json([_definition(_fields(_fields(tool).get("function"))) for tool in tools], "tools")


def _definition(function: _Fields) -> dict[str, object]:
    empty: dict[str, object] = {"name": "", "description": "", "parameters": {}}
    return {"type": "function", "function": {name: function.get(name) or none for name, none in empty.items()}}


def _array(value: object) -> Sequence[object]:
    return value if is_array(value) else ()


def _fields(value: object) -> _Fields:
    fields = dict(value) if isinstance(value, BaseModel) else value
    return fields if is_object(fields) else {}


# With a blank after each colon and comma, and nothing escaped to ASCII: as the templates write JSON.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=plain)


def _json(value: object, place: str) -> str:
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{place} can't be written as JSON: {error}."
        raise InvalidRequestError(msg, parameter=place) from None
