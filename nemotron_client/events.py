"""What streams and hooks tell, as frozen values; each class has its own literal ``type``.

Stream events come out of ``chat.completions.stream()``; hook events go to ``on_event`` and to the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from pydantic import JsonValue  # noqa: TC002 - read at run time, when a saved run is

from .completions import ChatCompletion, Usage
from .messages import Message, Repair, ToolCall

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text."""

    delta: str
    choice: int = 0
    type: Literal["text.delta"] = "text.delta"


@dataclass(frozen=True, slots=True)
class TextDone:
    """A choice's text is complete."""

    text: str
    choice: int = 0
    type: Literal["text.done"] = "text.done"


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of reasoning, from a server that separates it from the text."""

    delta: str
    choice: int = 0
    type: Literal["reasoning.delta"] = "reasoning.delta"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call's arguments; the first one of a call may be empty and tells its name.

    Attributes:
        index: Which of the choice's calls, from 0.
        id: The call's id, as soon as the server has sent it.
        name: The function's name, as far as it has come.
        delta: The piece of JSON text.
    """

    index: int
    id: str
    name: str
    delta: str
    choice: int = 0
    type: Literal["tool_call.delta"] = "tool_call.delta"


@dataclass(frozen=True, slots=True)
class ToolCallDone:
    """A tool call is complete; its arguments are what the model wrote, not yet checked."""

    index: int
    tool_call: ToolCall
    choice: int = 0
    type: Literal["tool_call.done"] = "tool_call.done"


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The server has said how many tokens were taken."""

    usage: Usage
    type: Literal["usage"] = "usage"


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete; always the last event."""

    completion: ChatCompletion
    type: Literal["finished"] = "finished"


StreamEvent: TypeAlias = TextDelta | TextDone | ReasoningDelta | ToolCallDelta | ToolCallDone | UsageReported | Finished
"""What ``chat.completions.stream()`` gives."""


@dataclass(frozen=True, slots=True)
class ParsedDelta:
    """The value as far as it has come, as JSON: what was announced may still be missing, texts may still grow."""

    value: JsonValue
    type: Literal["parsed.delta"] = "parsed.delta"


@dataclass(frozen=True, slots=True)
class ParsedDone(Generic[T]):
    """The value is complete and valid."""

    value: T
    type: Literal["parsed.done"] = "parsed.done"


@dataclass(frozen=True, slots=True)
class RequestSent:
    """A request is about to be sent."""

    method: str
    url: str
    attempt: int
    type: Literal["request.sent"] = "request.sent"


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """An answer's headers have come, for a stream, or the whole answer.

    Attributes:
        elapsed: Seconds since this attempt was sent.
    """

    status_code: int
    request_id: str | None
    elapsed: float
    attempt: int
    type: Literal["response.received"] = "response.received"


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """An attempt failed and another will be made.

    Attributes:
        delay: Seconds until then.
        reason: What was wrong, in a few words.
        attempt: The attempt that failed.
    """

    delay: float
    reason: str
    attempt: int
    type: Literal["retry.scheduled"] = "retry.scheduled"


@dataclass(frozen=True, slots=True)
class PollScheduled:
    """The server put the request aside (202), and will be asked for its result.

    Attributes:
        delay: Seconds until then.
    """

    delay: float
    type: Literal["poll.scheduled"] = "poll.scheduled"


@dataclass(frozen=True, slots=True)
class RateLimited:
    """A request that has not been sent yet waits, since the server said 429 to another one."""

    delay: float
    type: Literal["rate_limited"] = "rate_limited"


@dataclass(frozen=True, slots=True)
class DeprecationNoticed:
    """The server says that the model will be taken away."""

    model: str
    when: str
    type: Literal["deprecation.noticed"] = "deprecation.noticed"


@dataclass(frozen=True, slots=True)
class ConversationRepaired:
    """A request's messages or tools were put right before it is sent; the caller's own stay as they are."""

    repairs: tuple[Repair, ...]
    type: Literal["conversation.repaired"] = "conversation.repaired"


@dataclass(frozen=True, slots=True)
class BudgetWarned:
    """A prompt leaves little room for its answer, or may be more than the window holds; it is sent all the same."""

    message: str
    type: Literal["budget.warned"] = "budget.warned"


@dataclass(frozen=True, slots=True)
class ConversationFitted:
    """A request was made to fit the window: its oldest messages are not sent."""

    dropped: tuple[Message, ...]
    type: Literal["conversation.fitted"] = "conversation.fitted"


HookEvent: TypeAlias = (
    RequestSent
    | ResponseReceived
    | RetryScheduled
    | PollScheduled
    | RateLimited
    | DeprecationNoticed
    | ConversationRepaired
    | ConversationFitted
    | BudgetWarned
)
"""What ``on_event`` is called with."""
