"""Tell the log, the ``on_event`` hook and the warnings system what a flow reports."""

from __future__ import annotations

import logging
import warnings
from inspect import currentframe, iscoroutinefunction
from typing import TYPE_CHECKING

from nemotron_client.errors import ConfigurationError, ModelDeprecationWarning, TokenBudgetWarning
from nemotron_client.events import (
    BudgetWarned,
    ConversationFitted,
    ConversationRepaired,
    HookEvent,
    PollScheduled,
    RateLimited,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("nemotron_client.requests")


def observer(on_event: Callable[[HookEvent], object] | None) -> Callable[[HookEvent], None]:
    """Return what a flow reports to.

    Args:
        on_event: The caller's hook. What it raises is logged: a hook must not cost anybody an answer.

    Raises:
        ConfigurationError: It can't be called, or is a coroutine function, which nobody would await.
    """
    if on_event is not None and not callable(on_event):
        raise ConfigurationError(f"on_event={on_event!r} can't be called: give a function of one event.")
    if iscoroutinefunction(on_event) or iscoroutinefunction(getattr(on_event, "__call__", None)):  # noqa: B004
        msg = "on_event is an async function, but it is called from both clients without await: give a plain function."
        raise ConfigurationError(msg)

    def notify(event: HookEvent) -> None:
        _log(event)
        if on_event is not None:
            try:
                on_event(event)
            except Exception:
                LOGGER.exception("on_event raised an exception for %s", event.type)

    return notify


def _log(event: HookEvent) -> None:
    match event:
        case RequestSent():
            LOGGER.debug("%s %s, attempt %d", event.method, event.url, event.attempt)
        case ResponseReceived():
            LOGGER.debug("%d in %.3f s, request id %s", event.status_code, event.elapsed, event.request_id)
        case RetryScheduled():
            LOGGER.info("attempt %d failed: %s; the next one in %.2f s", event.attempt, event.reason, event.delay)
        case PollScheduled():
            LOGGER.info("the server put the request aside; asking for its result in %.2f s", event.delay)
        case RateLimited():
            LOGGER.info("waiting %.2f s, since the server said 429 to another request", event.delay)
        case ConversationRepaired():
            for repair in event.repairs:
                LOGGER.info("put right in what is sent: %s", repair.detail)
        case ConversationFitted():
            LOGGER.info("%d of the oldest messages are not sent, to make the rest fit", len(event.dropped))
        case BudgetWarned():
            _warn(event.message, TokenBudgetWarning)
        case _:  # DeprecationNoticed: the type checkers would see if there were another
            _warn(f"The server says that {event.model} will be taken away on {event.when}.", ModelDeprecationWarning)


def _warn(message: str, kind: type[Warning]) -> None:
    # Without handlers Python prints what is logged at this level, beside the warning itself.
    logs = LOGGER.hasHandlers()
    try:
        warnings.warn(message, kind, stacklevel=_level_outside())
    except kind:  # made an error by a filter; but it must not cost anybody an answer
        logs = True
    if logs:
        LOGGER.warning(message)


def _level_outside() -> int:
    """Return the ``stacklevel``, for the function that asks, of the line that called the library."""
    frame, level = currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("nemotron_client."):
        frame, level = frame.f_back, level + 1
    return level
