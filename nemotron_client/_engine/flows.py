"""Every conversation with a server, written once for both clients: ``reply = yield request``.

Retries, asking for the model's name, and reading the answer are plain Python here; nothing sleeps, sends or looks at a
clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from nemotron_client.config import MODEL, Config, redact
from nemotron_client.errors import (
    APIError,
    APIStatusError,
    Attempt,
    ConfigurationError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
)
from nemotron_client.events import (
    DeprecationNoticed,
    HookEvent,
    PollScheduled,
    RateLimited,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)
from nemotron_client.messages import (
    ChatCompletion,
    Completion,
    Model,
    ModelList,
    ResponseInfo,
)
from nemotron_client.retry import Brake, Retries

from . import failures, refusals, wire
from .exchange import Failure, Flow, Reply, Request, Response

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", ChatCompletion, Completion)

_OK, _ACCEPTED = 200, 202
_INTEGRATE = "integrate.api.nvidia.com"
_NVCF_STATUS = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status"
_FIRST_POLL, _LONGEST_POLL = 0.5, 5.0  # seconds; NVCF gives up after 10 s without a question
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(slots=True)
class Shared:
    """What all calls of a client, its copies included, have in common.

    Attributes:
        notify: Called with every hook event.
        jitter: Where the randomness of waits comes from.
        brake: The 429 brake.
        served: The model that a server of one's own offers, once it was asked.
        deprecations: The models whose end has been told.
    """

    notify: Callable[[HookEvent], None]
    jitter: Random = field(default_factory=Random)
    brake: Brake = field(default_factory=Brake)
    served: Model | None = None
    deprecations: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class Client:
    """A client as flows see it: what it was told, and what it shares."""

    config: Config
    shared: Shared


def chat(client: Client, call: wire.Call, *, now: float) -> Flow[ChatCompletion]:
    """Get a chat answer.

    Args:
        client: Who asks.
        call: What to send.
        now: The time, in seconds of the driver's clock.
    """
    return (yield from _answer(client, call, ChatCompletion, "a chat completion", now))


def text(client: Client, call: wire.Call, *, now: float) -> Flow[Completion]:
    """Get a text completion; arguments as for :func:`chat`."""
    return (yield from _answer(client, call, Completion, "a text completion", now))


def learn_model(client: Client, call: wire.Call, *, now: float) -> Flow[None]:
    """Ask the server for its model's name, if the call needs it and nobody has asked; arguments as for :func:`chat`."""
    yield from _named(client, call, now)


def open_stream(client: Client, call: wire.Call, *, now: float) -> Flow[ResponseInfo]:
    """Begin a streamed answer, whose body the driver leaves open; arguments as for :func:`chat`."""

    def read(_: Response, info: ResponseInfo) -> ResponseInfo:
        return info

    began = now
    call, now = yield from _named(client, call, now)
    return (yield from send(client, call, read, now=now, began=began))


def _answer(client: Client, call: wire.Call, model: type[AnswerT], what: str, now: float) -> Flow[AnswerT]:
    began = now
    call, now = yield from _named(client, call, now)

    def read(response: Response, info: ResponseInfo) -> AnswerT:
        try:
            answer = wire.parse(model, response.body)
        except ValueError as error:
            answer, why = None, f"{what}: {error}"
        else:
            why = f"{what}: it has no choices"
        if answer is None or not answer.choices:
            request = call.request(now=now)
            refused = refusals.refused_inside(request, response, hosted=client.config.hosted)
            raise refused or wire.not_expected(redact(response.body, request.headers), why)
        return answer.answered_by(info)

    return (yield from send(client, call, read, now=now, began=began))


def send(
    client: Client,
    call: wire.Call,
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
    delay = shared.brake.reserve(now) or 0.0
    if delay:
        shared.notify(RateLimited(delay))
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
            result = read(reply, _info(reply, done, started))
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


def _wait(brake: Brake, retries: Retries, reply: Reply, error: APIError) -> float | None:
    wait = retries.delay(error, attempt=len(error.attempts), now=reply.now)
    if wait is None:
        return None
    if isinstance(error, RateLimitError):
        brake.limited(sent=reply.sent, now=reply.now, delay=wait)
    # Where its turn would come too late, the error at hand says more than a timeout would.
    return brake.reserve(reply.now, wait, within=retries.longest_wait(error, reply.now))


def _info(response: Response, attempts: tuple[Attempt, ...], started: float) -> ResponseInfo:
    headers = {name: value for name, value in response.headers.items() if name != "set-cookie"}
    return ResponseInfo(response.status, refusals.request_id(headers), headers, attempts, response.now - started)


def _reason(error: APIError) -> str:
    kind = type(error).__name__
    return f"{kind} ({error.status_code})" if isinstance(error, APIStatusError) else kind


def _notice_deprecation(shared: Shared, call: wire.Call, response: Response | Failure) -> None:
    when = response.headers.get("deprecation") if isinstance(response, Response) else None
    model = call.model or MODEL
    if when and model not in shared.deprecations:
        shared.deprecations.add(model)
        shared.notify(DeprecationNoticed(model, when))


def _poll(
    client: Client, call: wire.Call, request: Request, response: Response, *, started: float, delay: float
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


def _named(client: Client, call: wire.Call, now: float) -> Flow[tuple[wire.Call, float]]:
    """Put the model's name into a call that has none: the one that the server offers, asked for once."""
    if call.model is not None:
        return call, now
    if client.shared.served is None:
        client.shared.served, now = yield from _served(client, call, now)
    return call.named(client.shared.served.id), now


def _served(client: Client, call: wire.Call, now: float) -> Flow[tuple[Model, float]]:
    question = wire.get_call(client.config, f"{client.config.base_url}/models", timeout=call.timeout, retry=call.retry)

    def read(response: Response, _: ResponseInfo) -> tuple[ModelList, float]:
        return read_models(response), response.now

    try:
        offered, now = yield from send(client, question, read, now=now)
    except NotFoundError:
        return Model(id=MODEL), now  # a server without that route mostly takes any name
    by_name = {model.id: model for model in offered}
    own = [model for model in offered if getattr(model, "parent", None) is None]  # adapters have a parent (vLLM)
    found = by_name.get(MODEL) or (own[0] if len(own) == 1 else None)
    if found is None:
        names = ", ".join(by_name) or "none at all"
        msg = f"{client.config.base_url} offers several models or none ({names}): pass model=... to say which."
        raise ConfigurationError(msg)
    return found, now


class _Models(BaseModel, defer_build=True):
    data: list[Model]


def read_models(response: Response) -> ModelList:
    """Read a list of models.

    Raises:
        InvalidResponseError: It is something else.
    """
    try:
        return ModelList(wire.parse(_Models, response.body).data)
    except ValueError as error:
        raise wire.not_expected(response.body, f"a list of models: {error}") from None
