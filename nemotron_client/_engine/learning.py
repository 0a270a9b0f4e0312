"""What a server of one's own is asked for, once, before a call needs it: its model's name and the windows."""

from __future__ import annotations

from copy import copy
from typing import Self

from pydantic import BaseModel, model_validator

from nemotron_client.completions import ResponseInfo
from nemotron_client.config import MODEL
from nemotron_client.errors import APIError, APITimeoutError, ConfigurationError, NotFoundError
from nemotron_client.retry import RetryPolicy
from nemotron_client.servers import Model, ModelList
from nemotron_client.timeouts import Timeout

from . import calls, wire
from .exchange import Flow, Response
from .sending import Client, Unanswered, send

# No server has a smaller window; a call that surely takes less needn't know it.
_SMALLEST_WINDOW = 2048
# A call can do without the window, so the question for it may neither fail it nor keep it long: in seconds.
_LONGEST_FOR_WINDOWS, _UNTIL_THE_NEXT = 5.0, 60.0
_ONCE = RetryPolicy(max_retries=0, rate_limit_wait=0)


def knows_enough(client: Client, call: calls.Call, *, now: float) -> bool:
    """Tell whether a call can be sent, or refused, with what is known of the server."""
    shared = client.shared
    if call.model is None:
        return shared.served is not None
    if client.config.hosted or shared.windows is not None or now < shared.windows_due:
        return True
    candidate = call.candidate
    return candidate is None or candidate.budget.limit is not None or candidate.proven(_SMALLEST_WINDOW)


def longest_wait(call: calls.Call) -> float | None:
    """Return for how many seconds a call waits at the most for what the server is asked first; None for no limit."""
    total = call.timeout.total
    if call.model is None:
        return total
    return _LONGEST_FOR_WINDOWS if total is None else min(total / 2, _LONGEST_FOR_WINDOWS)


def learn(client: Client, call: calls.Call, *, now: float) -> Flow[float]:
    """Ask the server which models it offers, if the call needs to know and nobody has asked.

    Args:
        client: Who asks.
        call: For what.
        now: When the call began, in seconds of the driver's clock; it may have waited for another's question since.

    Returns:
        The time after it.

    Raises:
        ConfigurationError: The call names no model, and the server offers several or none.
        APIError: The call names no model, and the server refused or didn't answer.
    """
    if knows_enough(client, call, now=now):
        return now
    _fail_alike(client.shared.unanswered, call, began=now)
    try:
        offered, now = yield from _offered(client, call, now)
    except APIError as error:
        now += error.took
        if call.model is not None:
            client.shared.windows_due = now + _UNTIL_THE_NEXT
            return now
        if not isinstance(error, NotFoundError):
            client.shared.unanswered = Unanswered(copy(error), now, call.timeout, call.retry)
            raise
        # A server without that route mostly takes any name.
        client.shared.windows, client.shared.served = {}, Model(id=MODEL)
        return now
    note(client, offered)
    if call.model is None and client.shared.served is None:
        names = ", ".join(model.id for model in offered) or "none at all"
        msg = f"{client.config.base_url} offers several models or none ({names}): pass model=... to say which."
        raise ConfigurationError(msg)
    return now


def _fail_alike(unanswered: Unanswered | None, call: calls.Call, *, began: float) -> None:
    """Raise the failure that a call without a model has waited for, instead of asking again: so would each after it."""
    if (
        call.model is None
        and unanswered is not None
        and began < unanswered.at
        and (call.timeout, call.retry) == (unanswered.timeout, unanswered.retry)
        and not (isinstance(unanswered.error, APITimeoutError) and call.timeout.total is not None)  # it has time left
    ):
        raise copy(unanswered.error)  # each caller notes its own run, and has its own traceback


def note(client: Client, offered: ModelList) -> None:
    """Keep what a list of models tells: the windows, and the model that is meant where nobody names one."""
    told = {model.id: model.max_model_len or 0 for model in offered}
    windows = {model.id: told[model.id] or told.get(_parent(model) or "", 0) for model in offered}
    client.shared.windows = {name: window for name, window in windows.items() if window > 0}
    client.shared.served = client.shared.served or _only_one(offered)


def _only_one(offered: ModelList) -> Model | None:
    own = [model for model in offered if _parent(model) is None]
    named = [model for model in offered if model.id == MODEL]
    return named[0] if named else own[0] if len(own) == 1 else None


def _parent(model: Model) -> str | None:
    """Return what an adapter stands on, whose window it has (vLLM)."""
    parent: object = getattr(model, "parent", None)  # vLLM's; adapters have one
    return None if parent is None else str(parent)


def _offered(client: Client, call: calls.Call, now: float) -> Flow[tuple[ModelList, float]]:
    timeout, retry = call.timeout, call.retry
    if call.model is not None:
        timeout, retry = Timeout.of(longest_wait(call), timeout), _ONCE
    question = calls.get_call(client.config, f"{client.config.base_url}/models", timeout=timeout, retry=retry)

    def read(response: Response, _: ResponseInfo) -> tuple[ModelList, float]:
        return read_models(client, response), response.now

    return (yield from send(client, question, read, now=now))


class _Listed(Model, defer_build=True):
    id: str = ""  # one without a name can't be asked for, but is no reason to know nothing of the others


class _Models(BaseModel, defer_build=True):
    data: list[_Listed]

    @model_validator(mode="after")
    def _leave_out_the_nameless(self) -> Self:
        named = [model for model in self.data if model.id]
        if self.data and not named:
            msg = "none of them has an id"
            raise ValueError(msg)
        self.data = named
        return self


def read_models(client: Client, response: Response) -> ModelList:
    """Read a list of models.

    Raises:
        InvalidResponseError: It is something else.
    """
    listed = wire.read(client.config, _Models, response.body, "a list of models").data
    return ModelList(Model.model_validate(model.model_dump()) for model in listed)
