"""What servers built on mistral-common have against a conversation, in its words.

Two of them: a vLLM of one's own with tokenizer v13, which lets more pass, and the hosted gateway, which knows the
older and stricter rules (docs/explanation/protocol.md, "Mistral's conversation rules"). Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from nemotron_client.testing.tokenizing import last_nine
from nemotron_client.tokens import content_text

Message: TypeAlias = Mapping[str, Any]

_ID = re.compile(r"[a-zA-Z0-9]{9}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_AFTER = {
    "system": {"user", "assistant", "system"},
    "user": {"assistant", "system", "user"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"assistant", "tool"},
}
_UNEQUAL = "Not the same number of function calls and responses"


def broken_rule(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, continued: bool, hosted: bool
) -> str | None:
    """Return the refusal of the first rule that a conversation breaks; None if it keeps them.

    Args:
        messages: With a known role each.
        tools: What is offered with it.
        continued: Whether the last message is the beginning of the answer.
        hosted: Whether the rules are the hosted gateway's.
    """
    return next(_broken(messages, tools, continued=continued, hosted=hosted), None)


def _broken(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, continued: bool, hosted: bool
) -> Iterator[str]:
    roles = [message["role"] for message in messages]
    if len(roles) == 1 and roles[0] not in {"user", "system"}:
        yield "Conversation must start with a user message or system message"
    if len(roles) > 1 and roles[-1] == "assistant" and not continued:
        yield "Expected last role User or Tool (or Assistant with prefix) for serving but got assistant"
    for before, role in pairwise(roles):
        if role not in _AFTER[before] and (hosted or (before, role) != ("tool", "user")):
            yield f"Unexpected role '{role}' after role '{before}'"
    yield from _unpaired(messages, hosted=hosted)
    for message in messages:
        yield from _wrong_content(message, hosted=hosted)
    for tool in tools:
        yield from _wrong_tool(tool["function"])


@dataclass
class _Turn:
    """The calls of an assistant's message, and which of them have their results."""

    called: set[str] = field(default_factory=set[str])
    answered: set[str] = field(default_factory=set[str])

    @property
    def is_open(self) -> bool:
        return len(self.called) != len(self.answered)


def _unpaired(messages: Sequence[Message], *, hosted: bool) -> Iterator[str]:
    turn = _Turn()
    for message in messages[1:]:  # mistral-common doesn't see the calls of the first message
        if message["role"] == "tool":
            known = _known(message.get("tool_call_id"), hosted=hosted)
            if known in turn.answered:
                yield f"Duplicate tool call id {known} in tool results"
            if known not in turn.called:
                yield f"Unexpected tool call id {known} in tool results"
            turn.answered.add(str(known))
        elif message["role"] == "assistant":
            if turn.is_open:
                yield _UNEQUAL
            turn = _Turn()
            for call in message.get("tool_calls") or ():
                known = _known(call.get("id"), hosted=hosted)
                if known in turn.called:
                    yield f"Duplicate tool call id {known} in assistant message"
                turn.called.add(str(known))
    if hosted and turn.is_open:
        yield _UNEQUAL


def _known(call: object, *, hosted: bool) -> object:
    return call if hosted else last_nine(call)


def _wrong_content(message: Message, *, hosted: bool) -> Iterator[str]:
    if message["role"] == "tool":
        if message.get("name") is not None:
            yield from _wrong_name(message["name"])
        yield from _wrong_id(message.get("tool_call_id"), hosted=hosted)
    if message["role"] == "assistant":
        for call in message.get("tool_calls") or ():
            if hosted and call.get("id") == "null":
                yield "Tool call id has to be defined in serving mode."
            yield from _wrong_id(call.get("id"), hosted=hosted)
            yield from _wrong_name(call["function"]["name"])
        if not hosted and not content_text(message) and not message.get("tool_calls"):
            yield "Invalid assistant message: role='assistant' content='' tool_calls=None prefix=False"


def _wrong_id(known: object, *, hosted: bool) -> Iterator[str]:
    if hosted and not _ID.fullmatch(str(known)):
        yield f"Tool call id was {known} but must be a-z, A-Z, 0-9, with a length of 9."
    if not known or known == "null":
        yield "Tool call id must be a non-empty string other than 'null' for tokenizer version 13 or newer."


def _wrong_name(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        rule = "must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64."
        yield f"Function name was {name} but {rule}"


def _wrong_tool(function: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft7Validator, SchemaError  # 60 ms to import

    try:
        Draft7Validator.check_schema(function.get("parameters") or {})
    except SchemaError as wrong:
        yield f"Invalid tool schema: {wrong.message}"
    except RecursionError:
        yield "maximum recursion depth exceeded in comparison"  # what vLLM's Python says, whichever this one is
    yield from _wrong_name(function["name"])
