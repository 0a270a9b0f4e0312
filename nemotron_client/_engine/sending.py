"""Send a call until it succeeds or its policy gives up: ``reply = yield request``, with retries, brake and polling.

Nothing sleeps, sends or looks at a clock here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import TypeVar
from urllib.parse import urlsplit

from nemotron_client.completions import ResponseInfo
from nemotron_client.config import MODEL, Config
from nemotron_client.errors import APIError, APIStatusError, Attempt, InvalidResponseError, RateLimitError
from nemotron_client.events import (
    DeprecationNoticed,
    HookEvent,
    PollScheduled,
    RateLimited,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)
from nemotron_client.options import Method
from nemotron_client.retry import Brake, Retries, RetryPolicy
from nemotron_client.servers import Model
from nemotron_client.timeouts import Timeout

from . import calls, failures, refusals
from .admission import Templates
from .exchange import Failure, Flow, Reply, Request, Response

T = TypeVar("T")

_OK, _ACCEPTED = 200, 202
_INTEGRATE = "integrate.api.nvidia.com"
_NVCF_STATUS = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status"
_FIRST_POLL, _LONGEST_POLL = 0.5, 5.0  # seconds; NVCF gives up after 10 s without a question
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that failed: why, when, and how patient it was."""

    error: APIError
    at: float
    timeout: Timeout
    retry: RetryPolicy


@dataclass(slots=True)
class Shared:
    """What all calls of a client, its copies included, have in common.

    Attributes:
        notify: Called with every hook event.
        jitter: Where the randomness of waits comes from.
        brake: The 429 brake.
        served: The model that a server of one's own offers, once it was asked.
        windows: By model, the window in tokens that the server tells; None until it has told.
        windows_due: From when on it may be asked for them, in seconds of the driver's clock.
        unanswered: What became of the last question for the models, if it failed.
        templates: By model, what answers have told of its chat template.
        deprecations: The models whose end has been told.
        methods: By model, the way of asking for a form that has worked.
        bridges: Whether the server has refused a user message after a tool's result.
    """

    notify: Callable[[HookEvent], None]
    jitter: Random = field(default_factory=Random)
    brake: Brake = field(default_factory=Brake)
    served: Model | None = None
    windows: dict[str, int] | None = None
    windows_due: float = -inf
    unanswered: Unanswered | None = None
    templates: defaultdict[str, Templates] = field(default_factory=lambda: defaultdict(Templates))
    deprecations: set[str] = field(default_factory=set[str])
    methods: dict[str, Method] = field(default_factory=dict[str, "Method"])
    bridges: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """A client as flows see it: what it was told, and what it shares."""

    config: Config
    shared: Shared

    @property
    def wants_bridges(self) -> bool:
        """Whether the server is known to refuse a user's message after a tool's result."""
        return self.config.hosted or self.shared.bridges

    def window(self, model: str | None) -> int | None:
        """Return the window in tokens that the server tells of a model; None where it says nothing.

        Args:
            model: Its name; None for the one that the server was asked for.
        """
        served = self.shared.served
        name = model or (served.id if served else None)
        return (self.shared.windows or {}).get(name) if name else None


def send(
    client: Client,
    call: calls.Call,
    read: Callable[[Response, ResponseInfo], T],
    *,
    now: float,
    began: float | None = None,
) -> Flow[T]:
    """Send a call until it succeeds or its policy gives up.

    Args:
        client: Who asks.
        call: What to send, complete.
        read: A success to the result; an APIError that it raises is judged like any other.
        now: The time.
        began: When the caller began, if something was asked before; the total limit and the elapsed time count from it.

    Raises:
        APIError: The last attempt's failure, which knows all attempts.
    """
    started = now if began is None else began
    shared, request = client.shared, call.request(now=started)
    retries = Retries(call.retry, started=started, deadline=request.deadline, jitter=shared.jitter)
    attempts: list[Attempt] = []
    delay = _first_wait(shared, request, retries, now)
    while True:
        number = len(attempts) + 1
        shared.notify(RequestSent(request.method, request.url, number))
        reply = yield replace(request, delay=delay) if delay else request
        status = reply.status if isinstance(reply, Response) else None
        took = reply.now - reply.sent
        try:
            if isinstance(reply, Failure):
                raise failures.connection_failure(request, reply)
            known_as = refusals.request_id(reply.headers)
            shared.notify(ResponseReceived(reply.status, known_as, took, number))
            if reply.status == _ACCEPTED:
                request, delay = _poll(client, call, request, reply, started=started, delay=delay)
                shared.notify(PollScheduled(delay))
                continue
            if reply.status != _OK:
                raise refusals.status_failure(request, reply, hosted=client.config.hosted)
            done = (*attempts, Attempt(number, status, None, took, delay))
            result = read(reply, _info(reply, done, started, call))
        except APIError as error:
            attempts.append(Attempt(number, status, _reason(error), took, delay))
            error.attempts = tuple(attempts)
            error.request_id = error.request_id or (
                None if isinstance(reply, Failure) else refusals.request_id(reply.headers)
            )
            wait = _wait(shared.brake, retries, reply, error)
            if wait is None:
                raise
            delay = wait
            shared.notify(RetryScheduled(delay, _reason(error), number))
        else:
            shared.brake.passed()
            _notice_deprecation(shared, call, reply)
            return result


def _first_wait(shared: Shared, request: Request, retries: Retries, now: float) -> float:
    """Return for how long the 429s of other calls hold this one up; fail at once where its turn would come too late."""
    left = max(retries.time_left(now), 0.0)
    wait = shared.brake.reserve(now, within=left)
    if wait is None:
        why = f"after 429s to other calls its turn comes later than in the {left:.3g} s it has"
        raise failures.connection_failure(request, Failure("total", why, now, now))
    if wait:
        shared.notify(RateLimited(wait))
    return wait


def _wait(brake: Brake, retries: Retries, reply: Reply, error: APIError) -> float | None:
    wait = retries.delay(error, attempt=len(error.attempts), now=reply.now)
    if wait is None:
        return None
    if isinstance(error, RateLimitError):
        brake.limited(sent=reply.sent, now=reply.now, delay=wait)
    # Where its turn would come too late, the error at hand says more than a timeout would.
    now = reply.now
    return brake.reserve(now, wait, last=retries.longest_wait(error, now), within=retries.time_left(now))


def _info(response: Response, attempts: tuple[Attempt, ...], started: float, call: calls.Call) -> ResponseInfo:
    headers = {name: value for name, value in response.headers.items() if name != "set-cookie"}
    known_as = refusals.request_id(headers)
    elapsed = response.now - started
    return ResponseInfo(response.status, known_as, headers, attempts, elapsed, call.repairs, call.dropped)


def _reason(error: APIError) -> str:
    kind = type(error).__name__
    return f"{kind} ({error.status_code})" if isinstance(error, APIStatusError) else kind


def _notice_deprecation(shared: Shared, call: calls.Call, response: Response | Failure) -> None:
    when = response.headers.get("deprecation") if isinstance(response, Response) else None
    model = call.model or MODEL
    if when and model not in shared.deprecations:
        shared.deprecations.add(model)
        shared.notify(DeprecationNoticed(model, when))


def _poll(
    client: Client, call: calls.Call, request: Request, response: Response, *, started: float, delay: float
) -> tuple[Request, float]:
    """Ask for the result of a request that was put aside (docs/explanation/protocol.md, "Long requests, 202 and 504").

    Returns:
        The question, and how many seconds to wait before it.
    """
    if request.url != call.url:  # it is a question already
        return request, min(max(delay * 2, _FIRST_POLL), _LONGEST_POLL)
    known_as = refusals.request_id(response.headers) or ""
    if not _SAFE_ID.fullmatch(known_as):
        msg = f"The server said 202, but gave no request id to ask for the result with (it said {known_as!r})."
        raise InvalidResponseError(msg)
    # The bearer goes to NVIDIA's own status host or back to where it came from, never where an answer points.
    base = _NVCF_STATUS if urlsplit(call.url).hostname == _INTEGRATE else f"{client.config.base_url}/status"
    limit = call.timeout.first_event
    deadline = started + limit if request.deadline is None and limit is not None else request.deadline
    return replace(request, method="GET", url=f"{base}/{known_as}", body=None, deadline=deadline), _FIRST_POLL
