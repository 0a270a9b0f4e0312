"""The blocking driver: carries out flows with a blocking HTTP client."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from nemotron_client._engine.exchange import Failure, Flow, Outcome, Reply, Request, Response, Work
from nemotron_client.errors import ConfigurationError, NemotronError
from nemotron_client.timeouts import sooner

from .clients import (
    Load,
    Verify,
    check_given,
    check_open,
    checked_proxy,
    make_client,
    tls_context,
)
from .errors import to_failure
from .http import (
    HTTPClient,
    HTTPResponse,
    allow_silence,
    built,
    built_directly,
    pieces,
    read_headers,
)
from .watchdog import DRAIN, WATCHDOG, Guard

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")


class Body:
    """The open body of an answer."""

    def __init__(self, response: HTTPResponse, request: Request, sent: float, *, driver: Blocking) -> None:
        """Take over what was opened.

        Args:
            response: Whose body it is.
            request: What was asked.
            sent: When, in seconds of ``time.monotonic``.
            driver: Who sent it; it closes its connections when it is collected, which must not be before the body is.
        """
        self._driver = driver
        self._response = response
        self._guard = Guard(response.extensions, response.http_version, request, sent)
        self._pieces = pieces(response)
        self._reading = False
        self._given_back = False
        self.closed = False
        driver.bodies.add(self)

    def read(self, progress: int = 0, *, draining: bool = False) -> bytes | Failure | None:
        """Read the next piece.

        Args:
            progress: How many pieces of content have come; a limit starts anew when it grows.
            draining: Whether only the end of the body is expected.

        Returns:
            The piece, None at the end, or why there is none.
        """
        guard = self._guard
        # Written before `closed` is read, as close() writes that before it reads this: one of the two sees the other.
        self._reading = True
        try:
            if self.closed:
                return guard.failure(None)
            if draining:
                guard.arm_drain()
            else:
                guard.arm(progress)
            piece = next(self._pieces, None)
        except Exception as error:
            failure = guard.failure(None if self.closed else error)
            if failure is None:
                raise
            return failure
        finally:
            guard.disarm()
            self._reading = False
            if self.closed:
                self._give_back()
        return guard.failure(None) if guard.fired or self.closed else piece

    def read_all(self) -> bytes | Failure:
        """Read the whole body: one piece of content."""
        pieces: list[bytes] = []
        while True:
            piece = self.read()
            if piece is None:
                return b"".join(pieces)
            if isinstance(piece, Failure):
                return piece
            pieces.append(piece)

    def drain(self) -> None:
        """Read the end of a body that has told all, so that its connection can be used again, and close it."""
        over = monotonic() + DRAIN  # for a server that goes on saying something
        while isinstance(self.read(draining=True), bytes) and monotonic() < over:
            pass
        self.close()

    def close(self) -> None:
        """Give the connection back at once; may be called from another thread, and more than once."""
        if self.closed:
            return
        self.closed = True
        if not self._reading:
            self._give_back()
        elif self._guard.can_shut_down:
            self._guard.shut_down()  # the reader wakes up and gives it back
        else:
            self._response.close()

    def abandon(self) -> None:
        """Close soon, in another thread; for the finaliser of a stream that nobody closed."""
        WATCHDOG.abandon(self.close)

    def _give_back(self) -> None:
        if self._given_back:
            return
        self._given_back = True
        self._guard.release()
        self._driver.bodies.discard(self)
        self._driver.left()
        self._response.close()


class Blocking:
    """Carry out flows."""

    def __init__(self, http_client: HTTPClient | None, *, proxy: str | None, verify: Verify) -> None:
        """Prepare; nothing is opened yet.

        Args:
            http_client: The caller's; None to make one when it is first needed.
            proxy: For the one that is made.
            verify: For the one that is made.
        """
        self._made: HTTPClient | None = None  # first, since __del__ looks at it even if what follows is refused
        check_given(http_client, close="close", kinds="an httpx2.Client or httpx.Client", proxy=proxy, verify=verify)
        self._given = http_client
        self._load = Load()
        self.bodies = set[Body]()  # that are open
        # By process: a fork may copy a lock that a thread of its parent holds.
        self._asking: dict[int, Lock] = {}
        self._making: dict[int, Lock] = {}
        self._proxy, self._verify = checked_proxy(proxy), tls_context(verify)
        self._process = os.getpid()
        self._closed = False

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its result."""
        return self._drive(flow, [])

    def open(self, flow: Flow[T]) -> tuple[T, Body]:
        """Carry out a flow that ends with an open body."""
        opened: list[Body] = []
        try:
            return self._drive(flow, opened), opened.pop()
        finally:
            for body in opened:  # something was raised since: by a warning that the caller made an error, by Ctrl-C
                body.close()

    @contextmanager
    def asking(self, limit: float | None) -> Generator[None]:
        """Hold the lock for asking the server for its models, which one call does for all.

        Args:
            limit: How many seconds to wait for it. Who has waited so long goes on without, to be told that its time is
                up.
        """
        lock = self._asking.setdefault(os.getpid(), Lock())
        held = lock.acquire(timeout=-1 if limit is None else limit)
        try:
            yield
        finally:
            if held:
                lock.release()

    def left(self) -> None:
        """Take note that a request is over."""
        if self._given is None:
            self._load.leave()

    def __del__(self) -> None:
        """Close quietly what nobody closed."""
        self._close_made()

    def close(self) -> None:
        """End the answers that other threads still read, and close the HTTP client, if it was made here."""
        self._closed = True
        for body in tuple(self.bodies):
            body.close()
        self._close_made()

    def _close_made(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()

    def _drive(self, flow: Flow[T], opened: list[Body]) -> T:
        outcome = Outcome[T]()
        steps = outcome.steps(flow)
        try:
            step = next(steps)
            while True:
                step = next(steps) if isinstance(step, Work) else steps.send(self._exchange(step, opened))
        except StopIteration:
            return outcome.value
        except NemotronError as error:
            # The frames of the flow tell the caller nothing; the message does.
            raise error.with_traceback(None) from error.__cause__

    def _exchange(self, request: Request, opened: list[Body]) -> Reply:
        if request.delay:
            sleep(sooner(request.delay, request.deadline, monotonic()) or 0.0)
        http = self._http()
        sent = monotonic()
        if request.deadline is not None and sent >= request.deadline:
            return Failure("total", "the time was up before it was sent", sent, sent)
        if self._given is None:
            self._load.enter()
        try:
            prepared = built_directly(request, sent) if self._given is None else built(http, request, sent)
            response = http.send(prepared, stream=True, follow_redirects=False)
        except BaseException as error:  # Ctrl-C too
            self.left()
            failure = to_failure(error, sent=sent, now=monotonic(), deadline=request.deadline, answering=False)
            if failure is None:
                raise
            return failure
        headers = read_headers(response, request)
        allow_silence(response, request, monotonic())
        body = Body(response, request, sent, driver=self)
        if self._closed:  # since it was sent
            body.close()
        if request.expect == "stream" and response.status_code == 200:
            opened.append(body)
            return Response(response.status_code, headers, b"", sent, monotonic())
        try:
            content = body.read_all()
        finally:
            body.close()
        if isinstance(content, Failure):
            return content
        return Response(response.status_code, headers, content, sent, monotonic())

    def _http(self) -> HTTPClient:
        if self._closed:
            msg = "This client was closed; make a new one."
            raise ConfigurationError(msg)
        if self._given is not None:
            check_open(self._given)
            return self._given
        if self._made is None or self._process != os.getpid():
            with self._making.setdefault(os.getpid(), Lock()):
                if self._made is None or self._process != os.getpid():
                    # After a fork the connections belong to the parent too.
                    self._made, self._process = make_client(self._proxy, self._verify), os.getpid()
        return self._made
