"""Exceptions of httpx2 and httpx to :class:`Failure` values, by name, so that neither has to be imported."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from nemotron_client._engine.exchange import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemotron_client._engine.exchange import Problem

_LIBRARIES = frozenset({"httpx2", "httpx"})  # others, such as a user's hook, may have errors of the same names
_BY_NAME: dict[str, Problem] = {
    "ConnectTimeout": "connect timeout",
    "PoolTimeout": "total",  # no limit is set for the queue but the whole call's
    "TimeoutException": "timeout",
    "ProxyError": "proxy",
    "UnsupportedProtocol": "protocol",
    "LocalProtocolError": "protocol",
    "DecodingError": "protocol",
    "ConnectError": "connect",
    "TransportError": "reset",
    "StreamError": "read",  # the response was closed by somebody else
}


def to_failure(
    error: BaseException, *, sent: float, now: float, deadline: float | None, answering: bool
) -> Failure | None:
    """Say as a value why no answer came.

    Args:
        error: What the HTTP client raised.
        sent: When the request was handed to it, in seconds of the driver's clock.
        now: The time.
        deadline: When everything must be over.
        answering: Whether the headers of the answer had come.

    Returns:
        The failure, or None if this is no exception of an HTTP library's.
    """
    names = (kind.__name__ for kind in type(error).__mro__ if _library(kind) in _LIBRARIES)
    known: list[Problem] = [_BY_NAME[name] for name in names if name in _BY_NAME]
    if not known:
        return None
    causes = tuple(_causes(error))
    problem = known[0]
    if problem == "connect":
        problem = _why_no_connection(causes)
    elif problem == "reset" and answering:
        problem = "read"
    elif problem == "reset" and any(_library(type(each)) == "h11" for each in causes):
        problem = "protocol"  # what came could not be read; that nothing came is told by httpcore itself
    elif problem.endswith("timeout") and deadline is not None and now >= deadline:
        problem = "total"
    # The innermost words are the system's: "[Errno 111] Connection refused" says more than "All attempts failed".
    detail = next((str(each) for each in reversed(causes) if isinstance(each, OSError) and str(each)), str(error))
    return Failure(problem, detail or type(error).__name__, sent, now)


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _why_no_connection(causes: tuple[BaseException, ...]) -> Problem:
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return "tls"
    if any(isinstance(each, socket.gaierror) for each in causes):
        return "dns"
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return "refused"
    return "connect"


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    several: tuple[BaseException, ...] = getattr(error, "exceptions", ())  # of an ExceptionGroup
    for each in several:
        yield from _causes(each)
    inner = error.__cause__ or error.__context__
    if inner is not None:
        yield from _causes(inner)
