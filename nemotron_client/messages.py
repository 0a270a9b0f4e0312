"""Pydantic models of messages and tool calls, which cross the wire both ways.

Lenient on the way in: unknown fields are kept, everything a server may leave out has a default. On the way out,
:func:`read_messages` checks the shape of what the caller gave; rules about conversations are in ``_engine/mistral.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from ._json import is_array, is_object
from .errors import InvalidRequestError

_ROLES = ("system", "developer", "user", "assistant", "tool")


class Wire(BaseModel):
    """What crosses the wire, lenient on the way in."""

    # Built when the first answer is read, which half of importing this library would otherwise go to.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Leave out what is None: servers send a dozen such fields."""
        return ((name, value) for name, value in super().__repr_args__() if value is not None)


class FunctionCall(Wire):
    """The function that the model wants to have called.

    Attributes:
        name: Of one of the functions that were offered, if the model keeps to them.
        arguments: JSON text as the model wrote it; it may be malformed, and is empty if it was cut before them.
    """

    name: str = ""
    arguments: str = Field(default="", description="JSON text as the model wrote it; it may be malformed.")


class ToolCall(Wire):
    """One call of a tool, whole.

    Attributes:
        id: To be given back as the ``tool_call_id`` of the result.
        type: ``"function"``.
        function: What to call, and with what.
    """

    id: str = ""
    type: str = "function"
    function: FunctionCall = Field(default_factory=FunctionCall)


class SystemMessage(Wire):
    """What the model should keep to.

    Attributes:
        role: ``"system"``.
        content: Text, or OpenAI's parts: ``[{"type": "text", "text": "..."}]``.
    """

    role: Literal["system"] = "system"
    content: str | Sequence[Mapping[str, object]]


class UserMessage(Wire):
    """What the user says.

    Attributes:
        role: ``"user"``.
        content: Text, or OpenAI's parts: ``[{"type": "text", "text": "..."}]``.
    """

    role: Literal["user"] = "user"
    content: str | Sequence[Mapping[str, object]]


class AssistantMessage(Wire):
    """What the model said: the message of an answer, and just as well an input message.

    As an input it is sent without its reasoning, and with its refusal as the content, where it has no other.

    Attributes:
        role: ``"assistant"``.
        content: The text; None beside tool calls, mostly.
        tool_calls: What the model wants to have called; None for nothing.
        reasoning: Of servers that keep it apart; also read as ``reasoning_content``.
        refusal: Why the model won't answer, in OpenAI's own field for that.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: str | None = Field(default=None, validation_alias=AliasChoices("reasoning", "reasoning_content"))
    refusal: str | None = None

    @model_validator(mode="after")
    def _take_other_name(self) -> Self:
        other = other_reasoning(self)
        if other and not self.reasoning:
            self.reasoning = other
        return self


def other_reasoning(part: Wire) -> str | None:
    """Return the reasoning of a server that sends it as ``reasoning_content``, beside a null by the other name."""
    other: object = (part.model_extra or {}).get("reasoning_content")
    return other if isinstance(other, str) else None


class ToolMessage(Wire):
    """What a tool returned.

    Attributes:
        role: ``"tool"``.
        content: The result, as text or as parts.
        tool_call_id: The ``id`` of the call that it answers.
        name: Of the function; no server needs it.
    """

    role: Literal["tool"] = "tool"
    content: str | Sequence[Mapping[str, object]]
    tool_call_id: str
    name: str | None = None


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage | Mapping[str, object]
"""An input message: one of the classes, or a plain dict of the same shape."""


Repairing: TypeAlias = Literal["auto", "fill", "strict", "off"]
"""How far a conversation is put right before it is sent: ``repair=``."""


Rule: TypeAlias = Literal[
    "role",
    "empty_content",
    "prefix",
    "tool_call_id",
    "tool_call_type",
    "tool_name",
    "arguments",
    "order",
    "missing_result",
    "user_after_tool",
    "parameters",
]


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was put right in what was sent; the caller's own messages and tools stay as they are.

    Attributes:
        rule: Which of the model's rules it is about.
        message: The index in the caller's messages; None for one about the tools.
        detail: What was wrong and what was sent instead, in a sentence.
    """

    rule: Rule
    message: int | None
    detail: str


def read_messages(messages: object) -> list[Mapping[str, object]]:
    """Check a conversation, and read it as it will be sent; dicts stay the caller's own.

    Args:
        messages: The conversation; a string is one user message.

    Raises:
        InvalidRequestError: There is none, or one of them is no message.
    """
    if isinstance(messages, str) and messages:
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, str) and not is_array(messages):
        msg = f"messages is a {type(messages).__name__}: give a string or a list of messages."
        raise InvalidRequestError(msg, parameter="messages")
    if not messages:
        msg = "messages is empty: give at least one message."
        raise InvalidRequestError(msg, parameter="messages")
    return [read_message(message, index) for index, message in enumerate(messages)]


def read_message(message: object, index: int) -> Mapping[str, object]:
    """Check and read the message at an index of a conversation."""
    if not is_object(message):
        message = _wire_fields(message, index)
    role = message.get("role")
    if role not in _ROLES:
        msg = f"messages[{index}] has role {role!r}: give one of {', '.join(_ROLES)}."
        raise InvalidRequestError(msg, parameter=f"messages[{index}].role")
    content = message.get("content")
    missing = content is None and role != "assistant" and "content" not in message
    # Asking an abstract class takes long, so it is the last thing to be asked.
    if missing or not (isinstance(content, str) or content is None or isinstance(content, Sequence)):
        what = "no content" if missing else f"content of type {type(content).__name__}"
        msg = f"messages[{index}] (role {role}) has {what}: give a string or a list of parts."
        raise InvalidRequestError(msg, parameter=f"messages[{index}].content")
    return message


def _wire_fields(message: object, index: int) -> dict[str, object]:
    if isinstance(message, AssistantMessage):
        return _wire_answer(message)
    if isinstance(message, SystemMessage | UserMessage | ToolMessage):
        return message.model_dump(exclude_none=True)
    what = "its choices[0].message" if hasattr(message, "choices") else "a dict or one of the message classes"
    msg = f"messages[{index}] is a {type(message).__name__}: give {what}."
    raise InvalidRequestError(msg, parameter=f"messages[{index}]")


def _wire_answer(message: AssistantMessage) -> dict[str, object]:
    # Only what a server takes back: some refuse any further field, and reasoning is not part of a history
    # (docs/explanation/protocol.md, "Answers made by the gateway" and "Mistral's conversation rules"). A refusal is
    # taken back as content by all of them; beside content only by those that send it there, as OpenAI's API does.
    wire: dict[str, object] = {"role": "assistant", "content": message.content or message.refusal or ""}
    if message.content and message.refusal:
        wire["refusal"] = message.refusal
    if (message.model_extra or {}).get("prefix"):
        wire["prefix"] = True
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls
        ]
    return wire
