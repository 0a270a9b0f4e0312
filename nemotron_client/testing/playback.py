"""One answer as a client without a socket meets it: waits, chunks, and how it ends, by the limits the client has set.

Pure: whoever plays it does the waiting.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    "CloseError",
    "ConnectError",
    "ConnectTimeout",
    "LocalProtocolError",
    "PoolTimeout",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "UnsupportedProtocol",
    "WriteError",
    "WriteTimeout",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The exceptions of a transport, as httpx2 and httpx both name them."""


class Broken(Exception):  # noqa: N818 - a message to whoever plays, which nobody else sees
    """Tell how an exchange fails, in words for the exception of either library."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """Say what to play.

    Args:
        status: The HTTP status; 0 for none, only the end.
        headers: All of them.
        delay: Seconds before the headers.
        chunks: The body, each chunk after so many seconds.
        end: How it fails after that, or that nothing more comes; None is a good end.
    """

    status: int
    headers: Mapping[str, str]
    delay: float
    chunks: Iterable[tuple[float, bytes]]
    end: Broken | Literal["hang"] | None


class Play:
    """Go through an exchange once."""

    def __init__(self, exchange: Exchange, limits: Mapping[str, float | None], *, is_ours: bool) -> None:
        """Begin when the request has been sent.

        Args:
            exchange: What to play.
            limits: Those of httpx, in seconds. A Nemotron gives `Timeout.first_event` as "read", `idle` as "write" and
                what is left of `total` as "pool".
            is_ours: Whether a Nemotron asks. To another client "read" is the limit of each silence.
        """
        self._exchange = exchange
        self._is_ours = is_ours
        self._first, self._idle, self._total = (
            inf if limits.get(name) is None else limits[name] or 0.0 for name in ("read", "write", "pool")
        )
        if not is_ours:
            self._idle, self._total = self._first, inf
        self._is_stream = "event-stream" in exchange.headers.get("content-type", "")
        self._waited = self._silent = 0.0
        self._limit = self._first

    def head(self) -> Iterator[float]:
        """Yield the waits before the headers.

        Raises:
            Broken: No headers come.
        """
        yield from self._wait(self._exchange.delay)
        if not self._exchange.status:
            yield from self._end()

    def body(self) -> Iterator[float | bytes]:
        """Yield the waits and the chunks of the body.

        Raises:
            Broken: It doesn't end as it should.
        """
        # As a Nemotron does it: never less than a silence is given.
        self._silent = min(self._silent, self._first - min(self._first, self._idle)) if self._is_ours else 0.0
        for seconds, chunk in self._exchange.chunks:
            yield from self._wait(seconds)
            if not self._is_ours or (self._is_stream and b"data:" in chunk):  # a keep-alive is no event
                self._silent, self._limit = 0.0, self._idle
            yield chunk
        yield from self._end()

    def _wait(self, seconds: float) -> Iterator[float]:
        allowed = max(0.0, min(self._limit - self._silent, self._total - self._waited))
        passed = min(seconds, allowed)
        self._waited += passed
        self._silent += passed
        if seconds:
            yield passed
        if seconds > allowed:
            raise Broken("ReadTimeout", f"{self._silent:g} s of silence were played")

    def _end(self) -> Iterator[float]:
        end = self._exchange.end
        if end == "hang":
            if min(self._limit, self._total) == inf:
                raise RuntimeError("This reply hangs, and the client has no time limit: it would wait for ever.")
            yield from self._wait(inf)
        elif end is not None:
            raise end
