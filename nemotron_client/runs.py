"""What a run of the agent loop is made of: tools' results, calls that wait for approval, the run itself.

Values only; what happens to them is decided in ``loop.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal, Self, TypeAlias

from pydantic import JsonValue, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ._json import is_object, plain
from ._tools.texts import read_arguments
from .completions import ChatCompletion, Usage
from .errors import InvalidRequestError
from .messages import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage

RunStatus: TypeAlias = Literal["completed", "paused", "max_turns", "interrupted"]

_CLASSES = {each.__name__: each for each in (SystemMessage, UserMessage, AssistantMessage, ToolMessage)}
_SHORTEST_KEY = 16  # bytes
_PURPOSE = b"nemotron-client: a paused run\n"  # so that nothing else that was signed with the key is taken for one


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of one call.

    Attributes:
        tool_call: The call.
        text: What the model is told.
        outcome: "ok"; "failed": the tool raised an exception; "invalid": no such tool, or impossible arguments, so that
            nothing ran; "timed_out"; "denied" by whoever was asked for approval.
        elapsed: Seconds that it ran.
    """

    tool_call: ToolCall
    text: str
    outcome: Literal["ok", "failed", "invalid", "timed_out", "denied"] = "ok"
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's decision on one call; valid for just this call of this pause.

    Attributes:
        tool_call_id: The call's id.
        fingerprint: A hash of the paused run's id, the call's place, the function's name and the arguments that were
            looked at.
        approved: Whether it may run.
        reason: Why not, for the model.
    """

    tool_call_id: str
    fingerprint: str
    approved: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that waits for approval.

    Attributes:
        tool_call: The call, as the model wrote it.
        run_id: The id of the paused run.
        index: Its place among the answer's calls, of which two may be the same in all else.
    """

    tool_call: ToolCall
    run_id: str
    index: int = 0

    @property
    def name(self) -> str:
        """The function's name."""
        return self.tool_call.function.name

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """The arguments, to be shown to whoever decides."""
        return read_arguments(self.tool_call.function.arguments)

    @property
    def fingerprint(self) -> str:
        """A hash of the paused run's id, the call's place, the function's name and the arguments."""
        from hashlib import sha256

        looked_at = [self.run_id, self.index, self.name, self.tool_call.function.arguments]
        return sha256(json.dumps(looked_at).encode()).hexdigest()

    def approve(self) -> Approval:
        """Let it run."""
        return Approval(self.tool_call.id, self.fingerprint, approved=True)

    def deny(self, reason: str = "") -> Approval:
        """Don't let it run.

        Args:
            reason: What the model is told of it.
        """
        return Approval(self.tool_call.id, self.fingerprint, approved=False, reason=reason)


class _Once:
    """What is taken by whoever resumes a run in this process, and shared by all copies that stay in it.

    Attributes:
        written: Whether there are copies that don't share it: written as JSON, or pickled.
    """

    def __init__(self, *, written: bool = False) -> None:
        self.written = written
        self._left = [None]  # a list, since to pop is one step for all threads

    def take(self) -> bool:
        """Tell whether nobody took it before; of several threads, one is told so."""
        try:
            self._left.pop()
        except IndexError:
            return False
        return True

    def __deepcopy__(self, _: object) -> Self:
        return self  # the copy stays in this process

    def __reduce__(self) -> tuple[Callable[[], _Once], tuple[()]]:
        self.written = True
        return partial(_Once, written=True), ()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A run of the agent loop, at its end or where it stopped.

    Attributes:
        status: "completed"; "paused": calls wait for approval, see :attr:`pending`; "max_turns": the model went on
            calling; "interrupted": it isn't over, as the ``run`` of an error, or of a stream that is not at its end.
        messages: The whole conversation, ready to be continued; of calls that still wait or run, results are missing.
        completion: The model's last answer; None if there was none.
        results: What became of each call, in the order of the calls.
        usage: The tokens of all answers together; None where the server doesn't tell.
        turns: How many answers the model gave.
        answered: While paused: what became of the last answer's calls, None for those that wait.
        id: The name of this state; it can be resumed once.
    """

    status: RunStatus
    messages: tuple[Message, ...]
    completion: ChatCompletion | None = None
    results: tuple[ToolResult, ...] = ()
    usage: Usage | None = None
    turns: int = 0
    answered: tuple[ToolResult | None, ...] = field(default=(), repr=False)
    id: str = ""
    _once: _Once = field(default_factory=_Once, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.completion.text if self.completion is not None else ""

    @property
    def pending(self) -> tuple[PendingCall, ...]:
        """The calls that wait for approval."""
        calls = self.completion.tool_calls if self.completion is not None else []
        known = enumerate(zip(calls, self.answered, strict=False))
        return tuple(PendingCall(call, self.id, index) for index, (call, result) in known if result is None)

    @property
    def called_tools(self) -> bool:
        """Whether the model called any tool; if not, its text may describe results that nobody had."""
        return bool(self.results or self.pending)

    @property
    def saved(self) -> bool:
        """Whether there may be copies in other processes, since it was written as JSON or pickled, or read from it."""
        return self._once.written

    def take(self) -> bool:
        """Tell whether this state was never resumed in this process, and note that it is now; for the library."""
        return self._once.take()

    def to_json(self, key: str | bytes) -> str:
        """Write a paused run down, so that it can be resumed in another process.

        Args:
            key: A secret of yours, 16 bytes or more, which signs the state: one that was edited is refused.

        Returns:
            JSON. It holds the conversation, but neither tools nor options.

        Raises:
            InvalidRequestError: The run isn't paused, a message can't be written, or the key is too short.
        """
        if self.status != "paused" or self.completion is None:
            msg = f"A run that is {self.status} can't be resumed: go on with run_tools(messages=run.messages, ...)."
            raise InvalidRequestError(msg, parameter="run")
        state = _State(
            id=self.id,
            turns=self.turns,
            messages=[_written(message, index) for index, message in enumerate(self.messages)],
            completion=self.completion,
            results=self.results,
            answered=self.answered,
            usage=self.usage,
        )
        text = json.dumps(_states().dump_python(state, mode="json"))
        saved = _Saved(state=text, signature=_signature(text, key))
        self._once.written = True
        return json.dumps(saved)

    @staticmethod
    def from_json(text: str | bytes, key: str | bytes) -> ToolRun:
        """Read a paused run.

        Args:
            text: What :meth:`to_json` gave.
            key: The same secret.

        Raises:
            InvalidRequestError: It was edited, or signed with another key, or is something else.
        """
        from hmac import compare_digest

        try:
            saved = _envelopes().validate_json(text)
        except ValueError:
            msg = "This is no saved run: give the text that ToolRun.to_json returned."
            raise InvalidRequestError(msg, parameter="text") from None
        if not compare_digest(saved["signature"].encode(), _signature(saved["state"], key).encode()):
            msg = "This saved run was edited, or was signed with another key: it is not resumed."
            raise InvalidRequestError(msg, parameter="text")
        try:
            return _restored(_states().validate_python(json.loads(saved["state"])))
        except (ValidationError, KeyError):  # signed, so it isn't broken
            msg = "This saved run was written by another version of this library, which this one can't read."
            raise InvalidRequestError(msg, parameter="text") from None


class _State(TypedDict):
    """What is saved of a paused run; of each message its class too, with no name for a dict."""

    id: str
    turns: int
    messages: list[tuple[str, dict[str, JsonValue]]]
    completion: ChatCompletion
    results: tuple[ToolResult, ...]
    answered: tuple[ToolResult | None, ...]
    usage: Usage | None


class _Saved(TypedDict):
    """What ``to_json`` writes. The state is text in it, so that whoever keeps it may write the JSON around it anew."""

    state: str
    signature: str


@cache
def _states() -> TypeAdapter[_State]:
    return TypeAdapter(_State)


@cache
def _envelopes() -> TypeAdapter[_Saved]:
    return TypeAdapter(_Saved)


def _written(message: Message, index: int) -> tuple[str, dict[str, JsonValue]]:
    if not is_object(message):
        name = next(each.__name__ for each in type(message).__mro__ if each.__name__ in _CLASSES)
        return name, message.model_dump(mode="json")
    try:
        fields: dict[str, JsonValue] = json.loads(json.dumps(message, default=plain))
    except (TypeError, ValueError) as error:
        msg = f"messages[{index}] can't be written as JSON: {error}."
        raise InvalidRequestError(msg, parameter=f"messages[{index}]") from None
    return "", fields


def _restored(state: _State) -> ToolRun:
    return ToolRun(
        status="paused",
        messages=tuple(_CLASSES[name].model_validate(fields) if name else fields for name, fields in state["messages"]),
        completion=state["completion"],
        results=state["results"],
        usage=state["usage"],
        turns=state["turns"],
        answered=state["answered"],
        id=state["id"],
        _once=_Once(written=True),
    )


def _signature(text: str, key: str | bytes) -> str:
    import hmac

    secret = key.encode() if isinstance(key, str) else key
    if len(secret) < _SHORTEST_KEY:
        msg = f"key has {len(secret)} bytes: give a secret of {_SHORTEST_KEY} or more."
        raise InvalidRequestError(msg, parameter="key")
    return hmac.new(secret, _PURPOSE + text.encode(), "sha256").hexdigest()
