"""One thread a process that ends reads which have waited too long, by shutting their socket down.

An HTTP client fixes its read timeout when a body begins and starts it anew with every byte, so that a server which
sends a comment now and then is never cut (httpcore's ``_receive_response_body``). Here a reader only writes down by
when the next piece of content must have come, which costs nothing to speak of; this thread looks at it. It also
closes what a finaliser found left open.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from contextlib import suppress
from math import inf
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from nemotron_client._engine.exchange import Failure
from nemotron_client.timeouts import Patience

from .errors import to_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemotron_client._engine.exchange import Request

THREAD = "nemotron-client-watchdog"
_LINGER = 5.0  # seconds between two looks at the most, and that the thread stays for the next stream
# After [DONE] only the end of the body is missing. Without it the connection can't be used again, but nobody should
# wait for it.
DRAIN = 0.25
_REST = 0.01  # between two looks, however little time a body has left while its reader is busy with something else


class SupportsShutdown(Protocol):
    """A socket, or what stands for one."""

    def shutdown(self, how: int, /) -> None: ...


class Watchdog:
    """Look after the reads in progress."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after a fork, where the thread does not exist."""
        self._condition = Condition()
        self._guards: set[Guard] = set()
        self._abandoned: list[Callable[[], object]] = []
        self._thread: Thread | None = None
        self.wakes_at = inf

    def add(self, guard: Guard) -> None:
        """Begin to look after a body."""
        with self._condition:
            self._guards.add(guard)
            if self._thread is None:
                thread = Thread(target=self._run, name=THREAD, daemon=True)
                # A process may have all its threads, or be ending: then the HTTP client's own timeout must do, and the
                # next body tries again.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def remove(self, guard: Guard) -> None:
        """Stop looking after a body; when this returns, its socket is not touched any more."""
        if not sys.is_finalizing():  # then the thread is dead, and may have died with the lock
            with self._condition:
                self._guards.discard(guard)

    def look_again(self) -> None:
        """Wake the thread, since a deadline is sooner than it knows."""
        if not sys.is_finalizing():
            with self._condition:
                self._condition.notify()

    def abandon(self, close: Callable[[], object]) -> None:
        """Have the thread close something.

        A finaliser can't: it may run at any moment of any thread, even while that holds the lock of the connection pool
        which closing needs. Nor can it start a thread: where there is none, the next body's will do it. At the end of
        the interpreter nothing is left to do, since all connections end with the process.

        Args:
            close: What to call.
        """
        if not sys.is_finalizing():
            with self._condition:
                self._abandoned.append(close)
                self._condition.notify()

    def check(self, now: float) -> float:
        """End what is over time.

        Args:
            now: The time, in seconds of ``time.monotonic``.

        Returns:
            When to look again.
        """
        again = inf
        for guard in tuple(self._guards):
            if guard.deadline <= now:
                guard.fired = True
                self._guards.discard(guard)
                guard.shut_down()
            else:
                # A deadline that is set the very next moment is at least `shortest` away.
                again = min(again, guard.deadline, now + max(guard.shortest, _REST))
        return again

    def _run(self) -> None:
        while self._watch():
            while self._abandoned:
                with suppress(Exception):  # nobody is there to be told
                    self._abandoned.pop()()

    def _watch(self) -> bool:
        """Look once, and wait until it is time for another look; tell whether there will be one."""
        with self._condition:
            idle, now = not self._guards, monotonic()
            self.wakes_at = inf  # whoever sets a deadline while this looks at others is to ask for another look
            # It looks now and then, needed or not, so that a body whose limit is further away need not wake it.
            self.wakes_at = min(self.check(now), now + _LINGER)
            woken = bool(self._abandoned) or self._condition.wait(self.wakes_at - now)
            if woken or not idle or self._guards or self._abandoned:
                return True
            self._thread = None
            self.wakes_at = inf
            return False


WATCHDOG = Watchdog()
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=WATCHDOG.reset)


class Guard:
    """The time limits of one open body, for a driver to consult around each read.

    Attributes:
        deadline: By when the read in progress must have brought content, in seconds of ``time.monotonic``; inf while
            the caller is busy with what it got, which takes no time from the limits.
        fired: Whether the watchdog has ended the read, so that its end of file means nothing.
        shortest: The shortest limit that may come to apply, in seconds.
    """

    __slots__ = ("_end_of_all", "_patience", "_process", "_sent", "_socket", "deadline", "fired", "shortest")

    def __init__(self, extensions: Mapping[str, Any], http_version: str, request: Request, sent: float) -> None:
        """Begin when the headers have come.

        Args:
            extensions: The response's; ``network_stream`` is httpcore's, and missing where no socket is involved.
            http_version: Other streams of an HTTP/2 connection share its socket; there a read that waits too long ends
                with the next piece, or by the HTTP client's own timeout.
            request: What was asked, with its limits.
            sent: When.
        """
        self.deadline = inf
        self.fired = False
        self._process = os.getpid()
        self._sent = sent
        self._end_of_all = request.deadline
        self._patience = Patience(request.timeout, sent=sent, now=monotonic(), deadline=request.deadline)
        self.shortest = self._patience.shortest
        stream = None if http_version == "HTTP/2" else extensions.get("network_stream")
        self._socket: SupportsShutdown | None = None if stream is None else stream.get_extra_info("socket")
        WATCHDOG.add(self)

    @property
    def can_shut_down(self) -> bool:
        """Whether a read in progress can be ended from outside."""
        return self._socket is not None

    def arm(self, progress: int) -> None:
        """Begin a read; ``progress`` is how many pieces of content have come before it."""
        self.deadline = self._patience.until(progress, monotonic())
        if self.deadline < WATCHDOG.wakes_at:
            WATCHDOG.look_again()

    def arm_drain(self) -> None:
        """Begin the last read, of a body that has told all."""
        self.deadline = monotonic() + DRAIN
        WATCHDOG.look_again()

    def disarm(self) -> None:
        """End a read: what the caller does now takes no time from the limits."""
        self.deadline = inf
        self._patience.paused = monotonic()

    def shut_down(self) -> None:
        """End the read in progress, from another thread or task; whoever reads gets an end of file."""
        if self._process != os.getpid():  # after a fork it would end the parent's read
            return
        with suppress(OSError):
            if self._socket is not None:
                shut_down(self._socket, socket.SHUT_RDWR)

    def release(self) -> None:
        """Stop; the socket is not touched any more when this returns."""
        WATCHDOG.remove(self)

    def failure(self, error: Exception | None) -> Failure | None:
        """Say as a value why a read failed.

        Args:
            error: What the HTTP client raised, if it did.

        Returns:
            The failure, or None if it is no matter of the network.
        """
        now = monotonic()
        if self.fired:
            return Failure(self._patience.problem(now), f"over {self._patience.limit(now)}", self._sent, now)
        if error is None:
            return Failure("closed", "closed by the caller", self._sent, now)
        return to_failure(error, sent=self._sent, now=now, deadline=self._end_of_all, answering=True)


def shut_down(connection: SupportsShutdown, how: int) -> None:
    """End what is read from a socket: whoever reads gets an end of file."""
    if isinstance(connection, ssl.SSLSocket):
        # Past SSLSocket.shutdown, which would take the TLS state away under the reader's feet.
        socket.socket.shutdown(connection, how)
    else:
        connection.shutdown(how)
