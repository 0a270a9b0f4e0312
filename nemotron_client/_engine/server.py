"""Asking a server about itself: its models, whether it is ready, its version."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, JsonValue

from nemotron_client._json import is_number, short
from nemotron_client.completions import ResponseInfo
from nemotron_client.config import MODEL
from nemotron_client.errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
)
from nemotron_client.servers import Model, ModelList, Readiness, ServerVersion
from nemotron_client.timeouts import LONGEST, Timeout

from . import calls, failures, refusals, wire
from .exchange import Failure, Flow, Response
from .learning import note, read_models
from .sending import Client, send

M = TypeVar("M", bound=BaseModel)

# A health route that doesn't answer in this time is not healthy.
_LONGEST_QUESTION = 15.0
_PATIENCE = Timeout(connect=5, first_event=10, idle=10, total=_LONGEST_QUESTION)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
# NIM, then vLLM, TensorRT-LLM and llama.cpp; the last is for a server that has neither
# (docs/explanation/protocol.md, "NIM", "vLLM", "TensorRT-LLM").
_READY_ROUTES = ("/v1/health/ready", "/health", "/v1/models")
_NO_ROUTE = frozenset({401, 403, 404, 405})
_NOT_READY = HTTPStatus.SERVICE_UNAVAILABLE


def models(client: Client, *, now: float) -> Flow[ModelList]:
    """List what the server offers."""

    def read(response: Response, _: ResponseInfo) -> ModelList:
        offered = read_models(client, response)
        note(client, offered)
        return offered

    return (yield from send(client, calls.get_call(client.config, f"{client.config.base_url}/models"), read, now=now))


def model(client: Client, name: str, *, now: float) -> Flow[Model]:
    """Ask for one model; from the list, where the server has no route for one.

    Raises:
        InvalidRequestError: That is no name.
    """

    def read(response: Response, _: ResponseInfo) -> Model:
        return _read(client, Model, response, "a model")

    url = _model_url(client, name)
    try:
        return (yield from send(client, calls.get_call(client.config, url), read, now=now))
    except NotFoundError as error:
        if error.body != {"detail": "Not Found"}:  # the words of a server without that route
            raise
        offered = yield from models(client, now=now)
        for each in offered:
            if each.id == name:
                return each
        error.args = (f"{client.config.base_url} has no model named {name!r}.",)
        error.hint = f"It offers {', '.join(each.id for each in offered) or 'none at all'}."
        raise


def ready(
    client: Client, *, now: float, delay: float = 0.0, patience: Timeout = _PATIENCE
) -> Flow[tuple[Readiness, float]]:
    """Ask whether requests would be answered, at no cost.

    Args:
        client: Who asks.
        now: The time.
        delay: Seconds to wait first.
        patience: The limits of each question.

    Returns:
        What it says, and the time.

    Raises:
        APIStatusError: The hosted model is gone, unknown, or not for this key: waiting won't help.
    """
    config = client.config
    if config.hosted:
        answer, now = yield from _probe(client, _model_url(client, config.model or MODEL), now, delay, patience)
        if isinstance(answer, APIStatusError) and not isinstance(answer, InternalServerError | RateLimitError):
            raise answer
        return _readiness(answer), now
    answer, now = yield from _first(client, _READY_ROUTES, now, delay, patience)
    return _readiness(answer), now


def wait_until_ready(client: Client, *, timeout: float, now: float) -> Flow[Readiness]:
    """Ask until the answer is yes.

    Args:
        client: Who asks.
        timeout: For how many seconds.
        now: The time.

    Raises:
        InvalidRequestError: ``timeout`` is no number from 0.
        APITimeoutError: It was never ready; the message has what it said last.
        APIStatusError: The hosted model is gone, unknown, or not for this key.
    """
    if not (is_number(timeout) and timeout >= 0):
        msg = f"timeout={short(timeout)}: give a number of seconds."
        raise InvalidRequestError(msg, parameter="timeout")
    deadline, pause = now + min(timeout, LONGEST), 0.0
    while True:
        left = max(deadline - now - pause, 0.001)  # a server that accepts and says nothing must not take longer
        patience = replace(_PATIENCE, total=min(left, _LONGEST_QUESTION))
        state, now = yield from ready(client, now=now, delay=pause, patience=patience)
        if state:
            return state
        pause = min(max(pause * 1.5, _FIRST_PAUSE), _LONGEST_PAUSE)
        if now + pause > deadline:
            msg = f"{client.config.base_url} was not ready within {timeout:g} s. It last said: {state.detail}"
            raise APITimeoutError(
                msg, hint="Loading a large model takes minutes; see the server's own log, or wait longer."
            )


def live(client: Client, *, now: float) -> Flow[bool]:
    """Ask whether the server runs at all, ready or not."""
    answer, _ = yield from _first(client, ("/v1/health/live", "/health"), now)
    return isinstance(answer, Response) or (isinstance(answer, APIStatusError) and answer.status_code == _NOT_READY)


def version(client: Client, *, now: float) -> Flow[ServerVersion]:
    """Ask for the server's version: NIM's route, then vLLM's.

    Raises:
        APIError: It has neither route, or can't be reached.
    """
    answer, _ = yield from _first(client, ("/v1/version", "/version"), now)
    return _read(client, ServerVersion, answer, "a version")


def metadata(client: Client, *, now: float) -> Flow[dict[str, JsonValue]]:
    """Ask a NIM for its metadata.

    Raises:
        APIError: It has no such route, since it is no NIM, or can't be reached.
    """
    answer, _ = yield from _probe(client, f"{client.config.root}/v1/metadata", now)
    if isinstance(answer, NotFoundError):
        answer.hint = "Only a NIM has this route; models.list() and server.version() work on other servers too."
    return _read(client, _Object, answer, "an object").model_extra or {}


def _model_url(client: Client, name: object) -> str:
    # A name may have slashes, even at its start; a step upwards would take the key to another route.
    if not (isinstance(name, str) and name) or not {".", ".."}.isdisjoint(name.split("/")):
        raise InvalidRequestError(f"{short(name)} is no name of a model.", parameter="model")
    return f"{client.config.base_url}/models/{quote(name, safe='/')}"


class _Object(BaseModel, extra="allow", defer_build=True):
    """Any JSON object."""


def _first(
    client: Client, routes: tuple[str, ...], now: float, delay: float = 0.0, patience: Timeout = _PATIENCE
) -> Flow[tuple[Response | APIError, float]]:
    """Ask one route after the other until one is there."""
    *others, last = routes
    for route in others:
        answer, now = yield from _probe(client, client.config.root + route, now, delay, patience)
        if not isinstance(answer, APIStatusError) or answer.status_code not in _NO_ROUTE:
            return answer, now
        delay = 0.0
    return (yield from _probe(client, client.config.root + last, now, delay, patience))


def _probe(
    client: Client, url: str, now: float, delay: float = 0.0, patience: Timeout = _PATIENCE
) -> Flow[tuple[Response | APIError, float]]:
    """Ask once, without trying again, and without raising."""
    request = replace(calls.get_call(client.config, url, timeout=patience).request(now=now + delay), delay=delay)
    reply = yield request
    if isinstance(reply, Failure):
        return failures.connection_failure(request, reply), reply.now
    if reply.status != HTTPStatus.OK:
        return refusals.status_failure(request, reply, hosted=client.config.hosted), reply.now
    return reply, reply.now


def _readiness(answer: Response | APIError) -> Readiness:
    if isinstance(answer, Response):
        return Readiness(ready=True, detail="ready", status_code=answer.status)
    status = answer.status_code if isinstance(answer, APIStatusError) else None
    return Readiness(ready=False, detail=str(answer.args[0]), status_code=status)


def _read(client: Client, model: type[M], answer: Response | APIError, what: str) -> M:
    if isinstance(answer, APIError):
        raise answer
    return wire.read(client.config, model, answer.body, what)
