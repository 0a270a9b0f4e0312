"""What passes between a flow and the driver that has the network.

A flow is a conversation with the network, written once: ``reply = yield request`` means "please send this, then carry
on". The drivers in ``_transport/`` do the sending, the waiting and the timing. ``yield work`` means "this takes long":
the asynchronous one does it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from nemotron_client.timeouts import Timeout

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """Something to send.

    Attributes:
        method: The HTTP method.
        url: The whole URL.
        headers: All headers; those that hold a secret as :class:`Secret`.
        body: The bytes to send; None for no body.
        expect: "body" for an answer to be read whole; "stream" for one whose body, if the status is 200, is left open.
        delay: Seconds to wait before sending.
        timeout: The limits.
        deadline: When everything must be over, on the driver's clock; None for no such time.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    expect: Literal["body", "stream"] = "body"
    delay: float = 0.0
    timeout: Timeout = field(default_factory=Timeout)
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something that would hold an event loop up, so that its driver does it in a thread; others leave it to the flow.

    Attributes:
        do: Does it, and remembers what came of it, so that the flow finds it done. What it raises ends the call.
    """

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answered.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
        body: All of it; empty for a stream that was left open.
        sent: When the request was sent, in seconds of the driver's clock.
        now: When this was complete, on the same clock.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent: float
    now: float


Problem: TypeAlias = Literal[
    "dns",  # before a connection
    "refused",
    "connect",
    "connect timeout",
    "tls",
    "proxy",
    "reset",  # before the headers
    "read",  # in the body
    "closed",  # by the caller
    "timeout",
    "total",
    "protocol",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why no answer came, or not all of it.

    Attributes:
        problem: The kind.
        detail: The words of the library or the system, without any secret.
        sent: When the request was sent, in seconds of the driver's clock.
        now: The time, on the same clock.
    """

    problem: Problem
    detail: str
    sent: float
    now: float


Reply: TypeAlias = Response | Failure
Step: TypeAlias = Request | Work
Flow: TypeAlias = Generator[Step, Reply, T]


class Outcome(Generic[T]):
    """Keep what a flow returns, with its type, which ``StopIteration.value`` has lost."""

    value: T

    def steps(self, flow: Flow[T]) -> Flow[None]:
        """Run the flow."""
        self.value = yield from flow
