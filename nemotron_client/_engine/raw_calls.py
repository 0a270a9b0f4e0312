"""Tool calls that a server left in the text: ``[TOOL_CALLS]`` and what follows it.

Servers without a parser for this model's calls, or with one that lost its way, send them as content. The known forms
are in ``docs/explanation/protocol.md``, "Raw tool calls"; whatever isn't exactly one of them, or names a tool that was
not offered, stays text. So does what was cut off: half a call is never run, nor are the whole ones before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from nemotron_client._json import is_array, is_object
from nemotron_client.messages import FunctionCall, ToolCall

from .naming import ID, NAME, make_id

_MARK, _ID_MARK, _ARGUMENTS_MARK, _END = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "</s>"
_LETTERS = re.compile(r"[a-zA-Z0-9]+")
# After the mark; with more it is held to be text, so that no text is held back without end.
_MOST_SPACE = 64
_LONGEST_HEAD = _MOST_SPACE + 66  # enough to see that a name of 64 characters has ended
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was in the text.

    Attributes:
        text: What is text.
        calls: The tool calls, with ids of our own where there were none.
        cut_off: Whether the text ends within a tool call; then all of it is in ``text``, and there are no calls.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    cut_off: bool = False


def recovered_calls(text: str, names: Collection[str], *, seed: str = "") -> Recovered | None:
    """Find tool calls in the text of an answer.

    Args:
        text: The content.
        names: The tools that were offered, as they were sent.
        seed: Something that is another for each answer, such as its id: the calls' ids are made from it.

    Returns:
        The text before the calls, and the calls; None if there are none.
    """
    if _MARK not in text:
        return None
    reader = RawCalls(names, seed)
    before = reader.feed(text)
    rest = reader.close()
    if not rest.calls and not rest.cut_off:
        return None
    return Recovered(before + rest.text, rest.calls, rest.cut_off)


class RawCalls:
    """Find tool calls in a text that comes in pieces."""

    def __init__(self, names: Collection[str], seed: str = "") -> None:
        """Begin a text; the arguments are those of :func:`recovered_calls`."""
        self._names = names
        self._seed = seed
        self._held = ""  # may become a call
        self._calls: list[str] = []  # is one, as far as can be told before its end

    def feed(self, piece: str) -> str:
        """Take the next piece of text.

        Returns:
            What is surely text.
        """
        if self._calls:
            self._calls.append(piece)
            return ""
        if not self._names or (not self._held and "[" not in piece):
            return piece
        text, self._held = self._held + piece, ""
        at = 0
        while (start := text.find(_MARK, at)) >= 0:
            at = start + len(_MARK)
            begins = self._begins_call(text[at : at + _LONGEST_HEAD])
            if begins is False:
                continue
            if begins:
                self._calls = [text[start:]]
            else:
                self._held = text[start:]
            return text[:start]
        start = text.rfind("[", at)
        if start >= 0 and _MARK.startswith(text[start:]):
            self._held = text[start:]
            return text[:start]
        return text

    def close(self) -> Recovered:
        """End the text.

        Returns:
            What is left of it, as text or as calls.
        """
        text = "".join(self._calls) or self._held
        self._held, self._calls = "", []
        try:
            calls = _Scanner(text, self._names, self._seed).calls() if text.startswith(_MARK) else ()
        except _CutOffError:
            return Recovered(text, cut_off=True)
        except ValueError:
            return Recovered(text)
        return Recovered("" if calls else text, calls)

    def _begins_call(self, head: str) -> bool | None:
        """Tell whether what follows a mark can be a call; None if that is still open."""
        start = head.lstrip()
        listed = start.startswith("[")
        inside = start[1:].lstrip() if listed else start
        if len(head) - len(inside) > _MOST_SPACE:
            return False
        if not inside:
            return None
        if listed:
            return inside.startswith("{")
        name = NAME.match(start)
        if name is None:
            return False
        if name.end() < len(start):
            return name[0] in self._names
        return None if any(each.startswith(name[0]) for each in self._names) else False


class _CutOffError(Exception):
    """The text ends where a call would go on."""


class _Scanner:
    """Read calls from a text that begins with the mark; a ValueError says that it holds something else."""

    def __init__(self, text: str, names: Collection[str], seed: str) -> None:
        self._text = text
        self._names = names
        self._seed = seed
        self._at = len(_MARK)

    def calls(self) -> tuple[ToolCall, ...]:
        self._skip_space()
        if self._at == len(self._text):
            raise ValueError(self._text)
        if self._text[self._at] == "[":
            return self._listed()
        calls = [self._named(())]
        while self._next(_MARK):
            calls.append(self._named(calls))
        self._end()
        return tuple(calls)

    def _listed(self) -> tuple[ToolCall, ...]:
        """Read ``[{"name": ..., "arguments": {...}}, ...]``, of tokenizers before v11."""
        entries, text = self._json()
        self._end()
        calls: list[ToolCall] = []
        for entry in entries if is_array(entries) else ():
            name, arguments = (entry.get("name"), entry.get("arguments")) if is_object(entry) else (None, None)
            if name not in self._names or not is_object(arguments):
                raise ValueError(text)
            given_id = str(entry.get("id")) if is_object(entry) else ""
            calls.append(self._call(str(name), json.dumps(arguments, ensure_ascii=False), given_id, calls))
        return tuple(calls)

    def _named(self, before: Sequence[ToolCall]) -> ToolCall:
        """Read ``name{...}``, with ``[CALL_ID]id`` and ``[ARGS]`` after the name where they are."""
        name = self._word(NAME)
        if self._at == len(self._text) and any(each.startswith(name) for each in self._names):
            raise _CutOffError
        if name not in self._names:
            raise ValueError(name)
        given_id = self._word(_LETTERS) if self._next(_ID_MARK) else ""
        self._next(_ARGUMENTS_MARK)
        arguments, text = self._json()
        if not is_object(arguments):
            raise ValueError(text)
        return self._call(name, text, given_id, before)

    def _call(self, name: str, arguments: str, given_id: str, before: Sequence[ToolCall]) -> ToolCall:
        own = bool(ID.fullmatch(given_id)) and given_id not in [call.id for call in before]
        call_id = given_id if own else make_id(f"{self._seed} {len(before)} {name} {arguments}")
        return ToolCall(id=call_id, function=FunctionCall(name=name, arguments=arguments))

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _next(self, mark: str) -> bool:
        """Go past a mark, if it is what comes next."""
        self._skip_space()
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        left = self._text[self._at : self._at + len(mark)]
        if left and self._at + len(left) == len(self._text) and mark.startswith(left):
            raise _CutOffError
        return False

    def _word(self, pattern: re.Pattern[str]) -> str:
        self._skip_space()
        found = pattern.match(self._text, self._at)
        word = found[0] if found else ""
        self._at += len(word)
        return word

    def _json(self) -> tuple[object, str]:
        """Go past a JSON object or array; return it and its text."""
        self._skip_space()
        start = self._at
        if self._text[start : start + 1] not in ("", "{", "["):
            raise ValueError(self._text[start])
        try:
            value, self._at = _JSON.raw_decode(self._text, start)
        except (ValueError, RecursionError):
            _refuse_beginning(self._text[start:])
            raise ValueError(self._text[start:]) from None
        return value, self._text[start : self._at]

    def _end(self) -> None:
        self._next(_END)
        self._skip_space()
        if self._at < len(self._text):
            raise ValueError(self._text[self._at :])


def _refuse_beginning(text: str) -> None:
    """Raise if a text is JSON that only lacks its end."""
    try:
        from_json(text)
    except ValueError as error:
        if str(error).startswith("EOF"):
            raise _CutOffError from None
