"""The tool calls of a history, and which result answers which call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel

from nemotron_client._json import is_array, is_object
from nemotron_client.errors import InvalidConversationError
from nemotron_client.messages import Repair, Rule

from .naming import ID, Substitutes, make_id
from .offered import as_json, refused_name

_NO_ARGUMENTS = "{}"
_UNNAMED = "an unnamed function"


@dataclass(slots=True)
class Item:
    """A message on its way to the server, its role there, and its index in the caller's list."""

    index: int
    role: object
    message: Mapping[str, object]

    def error(self, words: str) -> InvalidConversationError:
        """Make the error that says what is wrong with this message."""
        place = f"messages[{self.index}]"
        return InvalidConversationError(f"{place} (role {self.role}) {words}", parameter=place)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the history.

    Attributes:
        id: The caller's id; "" for none.
        name: The caller's name of the tool.
        sent_id: The id that is sent.
        message: All that is sent.
    """

    id: str
    name: str
    sent_id: str
    message: Mapping[str, object]


def tool_calls(messages: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    """Go through all tool calls of a conversation, as far as they have the form of one."""
    for message in messages:
        calls = message.get("tool_calls")
        if is_array(calls):
            yield from filter(is_object, map(plain, calls))


def plain(value: object) -> object:
    """Return a call as a dict where it is one of the library's classes."""
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value


def as_id(value: object) -> str:
    """Return an id as text; "" where it says nothing ("null" is what mistral-common writes for none)."""
    return "" if value is None or value == "null" else str(value)


def id_of(result: Item) -> str:
    """Return the id of the call that a result says it answers."""
    return as_id(result.message.get("tool_call_id"))


class CallReader:
    """Read the tool calls of a history as they are to be sent."""

    def __init__(self, messages: Sequence[Mapping[str, object]], names: Substitutes, repairs: list[Repair]) -> None:
        """Begin a conversation.

        Args:
            messages: All of it.
            names: What is sent for the tools' names.
            repairs: Each repair is added to it.
        """
        self._names = names
        self._ids = Substitutes(ID, make_id, lambda: [as_id(call.get("id")) for call in tool_calls(messages)])
        self._repairs = repairs

    def read(self, asker: Item) -> list[Call]:
        """Return an assistant's calls, and put right how they stand in its message."""
        given = asker.message.get("tool_calls")
        if not given:
            return []
        if not is_array(given):
            raise asker.error(f"has tool_calls of type {type(given).__name__}: give a list.")
        calls: list[Call] = []
        for call in map(plain, given):
            calls.append(self._call(asker, call, calls))
        if any(call.message is not its for call, its in zip(calls, given, strict=True)):
            asker.message = {**asker.message, "tool_calls": [call.message for call in calls]}
        return calls

    def _call(self, asker: Item, given: object, before: Sequence[Call]) -> Call:
        function = plain(given.get("function")) if is_object(given) else None
        name = function.get("name") if is_object(function) else None
        if not is_object(given) or not is_object(function) or not isinstance(name, str):
            msg = f'has no function name in tool_calls[{len(before)}]: give {{"id": ..., "function": {{"name": ...}}}}.'
            raise asker.error(msg)
        changed: dict[str, object] = {}
        fixed = self._function(asker, function, name)
        if fixed is not given.get("function"):
            changed["function"] = fixed
        kind = given.get("type")
        if kind != "function":
            changed["type"] = "function"
            problem = "no type" if kind is None else f"the type {kind!r}"
            self._note(
                asker, "tool_call_type", f"The call of {name or _UNNAMED} has {problem}; it is sent as a function."
            )
        sent_id = self._id(asker, given.get("id"), name, fixed.get("arguments"), before)
        if sent_id != given.get("id"):
            changed["id"] = sent_id
        return Call(as_id(given.get("id")), name, sent_id, {**given, **changed} if changed else given)

    def _function(self, asker: Item, function: Mapping[str, object], name: str) -> Mapping[str, object]:
        changed: dict[str, object] = {}
        seen = len(self._names.own)
        sent = self._names.of(name)
        if sent != name:
            changed["name"] = sent
        if len(self._names.own) > seen:  # else it has been told before
            self._note(asker, "tool_name", f"{refused_name(name)}; it is sent as {sent!r}.")
        arguments = function.get("arguments")
        text, problem = _sent_arguments(arguments)
        if problem is not None:
            changed["arguments"] = text
            self._note(asker, "arguments", f"The arguments of {name or _UNNAMED} are {problem}.")
        return {**function, **changed} if changed else function

    def _id(self, asker: Item, given: object, name: str, arguments: object, before: Sequence[Call]) -> str:
        own = as_id(given)
        earlier = sum(call.id == own for call in before)
        if not own:
            sent = self._ids.of(f"{len(before)} {name} {arguments}")
            problem = f"The call of {name or _UNNAMED} has no id; it is"
        elif earlier:
            sent = self._ids.of(f"{own} {earlier}")
            problem = f"The id {own!r} was given to an earlier call of this message; the call of {name or _UNNAMED} is"
        else:
            sent = self._ids.of(own)
            problem = f"The id {given!r} is not a text of nine letters or digits; the call of {name or _UNNAMED} is"
        if sent != given:
            self._note(asker, "tool_call_id", f"{problem} sent with {sent!r}, and so is its result.")
        return sent

    def _note(self, asker: Item, rule: Rule, detail: str) -> None:
        self._repairs.append(Repair(rule, asker.index, detail))


def _sent_arguments(arguments: object) -> tuple[object, str | None]:
    """Return arguments as a JSON object in a text, and what they were instead; None where they are one.

    What is no object, as of a call that was cut off, vLLM shows to the model as ``{}``, and older servers refuse the
    whole conversation for it (docs/explanation/protocol.md, "Mistral's conversation rules").
    """
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):
            if is_object(json.loads(arguments)):
                return arguments, None
    elif arguments is not None:
        text = as_json(arguments)
        if text is None:
            return arguments, None  # which is told where the whole request is written
        if text.startswith(b"{"):
            return text.decode(), "no text; they are sent as JSON"
    return _NO_ARGUMENTS, f"no JSON object; {_NO_ARGUMENTS} is sent"


def matched(asker: Item, calls: Sequence[Call], results: Sequence[Item]) -> list[Item | None]:
    """Find the result of each call: by id, else by name or by order where that leaves no doubt.

    Args:
        asker: The message with the calls.
        calls: They.
        results: The tool messages of the turn, in their order.

    Returns:
        For each call its result, or None.

    Raises:
        InvalidConversationError: A result answers none of the calls, or it is in doubt which.
    """
    ids = [id_of(result) for result in results]
    if ids == [call.id for call in calls] and "" not in ids and len(set(ids)) == len(ids):
        return list(results)
    turn = _Turn(asker, calls)
    known = dict.fromkeys(call.id for call in calls if call.id)
    for own in known:
        turn.pair([n for n, call in enumerate(calls) if call.id == own], [r for r in results if id_of(r) == own])
    loose = [result for result in results if id_of(result) not in known]
    without_id = [n for n, call in enumerate(calls) if not call.id]
    strangers = [result for result in loose if id_of(result)]
    if strangers and not without_id:
        raise turn.stranger(strangers[0])
    turn.pair([n for n in range(len(calls)) if turn.found[n] is None], loose)
    for call, result in zip(calls, turn.found, strict=True):
        if result is not None and call.id and id_of(result) not in ("", call.id):
            raise turn.stranger(result)
    return turn.found


class _Turn:
    """Calls whose results are being found."""

    def __init__(self, asker: Item, calls: Sequence[Call]) -> None:
        self.found: list[Item | None] = [None] * len(calls)
        self._asker = asker
        self._calls = calls

    def pair(self, positions: Sequence[int], results: Sequence[Item]) -> None:
        """Give results to the calls at these positions, all of which they could answer by their ids."""
        names = [result.message.get("name") for result in results]
        if len(results) > len(positions):
            raise self._too_many(results[len(positions)], len(positions))
        wanted = Counter(self._calls[position].name for position in positions)
        by_name = len(positions) > 1 and all(names)
        if by_name:
            clear = all(wanted[str(name)] == count for name, count in Counter(names).items())
        else:
            clear = len(results) in (0, len(positions))
        if not clear:
            raise self._doubtful(results[0], len(positions))
        left = list(positions)
        for name, result in zip(names, results, strict=True):
            position = next(n for n in left if not by_name or self._calls[n].name == name)
            left.remove(position)
            self.found[position] = result

    def _too_many(self, result: Item, calls: int) -> InvalidConversationError:
        return result.error(
            f"is one result too many: messages[{self._asker.index}] has {calls} {'call' if calls == 1 else 'calls'} "
            "that it could answer, which other results answer. Keep one result for each call."
        )

    def _doubtful(self, result: Item, calls: int) -> InvalidConversationError:
        return result.error(
            f"leaves open which of {calls} calls in messages[{self._asker.index}] it answers: give each call an id of "
            "its own, and each result that id as tool_call_id."
        )

    def stranger(self, result: Item) -> InvalidConversationError:
        """Make the error for a result of a call that wasn't made."""
        return result.error(
            f"answers the call {id_of(result)!r}, which messages[{self._asker.index}] did not make: a result follows "
            "the assistant's message with its call, before the assistant speaks again, and has the call's id."
        )
