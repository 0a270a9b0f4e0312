"""The asynchronous driver: carries out flows on asyncio or trio; the twin of ``blocking.py``."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import current_token

from nemotron_client._engine.exchange import Failure, Flow, Outcome, Reply, Request, Response, Work
from nemotron_client.errors import ConfigurationError, NemotronError
from nemotron_client.timeouts import sooner

from .clients import (
    Load,
    Verify,
    check_given,
    check_open,
    checked_proxy,
    make_async_client,
    preload,
    tls_context,
)
from .errors import to_failure
from .eventloops import is_running, soon, spawn
from .http import (
    AsyncHTTPClient,
    AsyncHTTPResponse,
    allow_silence,
    async_pieces,
    built,
    built_directly,
    read_headers,
)
from .watchdog import DRAIN, Guard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from anyio.lowlevel import EventLoopToken

T = TypeVar("T")


class AsyncBody:
    """The open body of an answer."""

    def __init__(self, response: AsyncHTTPResponse, request: Request, sent: float, *, driver: Nonblocking) -> None:
        """Take over what was opened.

        Args:
            response: Whose body it is.
            request: What was asked.
            sent: When, in seconds of ``time.monotonic``.
            driver: Who sent it; it closes its connections when it is collected, which must not be before the body is.
        """
        self.loop = current_token()
        self._driver = driver
        self._response = response
        self._guard = Guard(response.extensions, response.http_version, request, sent)
        self._pieces: AsyncIterator[bytes] = async_pieces(response)
        self._reading = False
        self._ended = False
        self._given_back = False
        self._telling: object = None
        self.closed = False
        driver.bodies.add(self)

    async def read(self, progress: int = 0, *, draining: bool = False) -> bytes | Failure | None:
        """Read the next piece.

        Args:
            progress: How many pieces of content have come; a limit starts anew when it grows.
            draining: Whether only the end of the body is expected.

        Returns:
            The piece, None at the end, or why there is none.
        """
        guard = self._guard
        self._reading = True
        try:
            if self.closed:
                return guard.failure(None)
            if draining:
                guard.arm_drain()
            else:
                guard.arm(progress)
            piece = await anext(self._pieces, None)
        except Exception as error:
            self._ended = True
            failure = guard.failure(None if self.closed else error)
            if failure is None:
                raise
            return failure
        finally:
            guard.disarm()
            self._reading = False
            if self.closed:
                await self._give_back()
        self._ended = piece is None
        return guard.failure(None) if guard.fired or self.closed else piece

    async def read_all(self) -> bytes | Failure:
        """Read the whole body: one piece of content."""
        pieces: list[bytes] = []
        while True:
            piece = await self.read()
            if piece is None:
                return b"".join(pieces)
            if isinstance(piece, Failure):
                return piece
            pieces.append(piece)

    async def drain(self) -> None:
        """Read the end of a body that has told all, so that its connection can be used again, and close it."""
        over = monotonic() + DRAIN  # for a server that goes on saying something
        while isinstance(await self.read(draining=True), bytes) and monotonic() < over:
            pass
        await self.close()

    async def close(self) -> None:
        """Give the connection back at once; may be called from another task, and more than once."""
        if self.closed:
            return
        self.closed = True
        if not self._reading:
            await self._give_back()
        elif self._guard.can_shut_down:
            self._guard.shut_down()  # the reader wakes up and gives it back
        else:
            await self._response.aclose()

    def abandon(self) -> None:
        """Hang up at once, and tell the connection pool when the event loop comes to it; for a finaliser."""
        self._guard.shut_down()
        self._over()
        self.closed = True
        with suppress(RuntimeError):  # the event loop is over, and its connections with it
            soon(self.loop)(self._tell)

    def _tell(self) -> None:
        self._telling = spawn(self.loop, "nemotron-abandoned", self._close_response, lambda: None)

    async def _close_response(self) -> None:
        with suppress(Exception):  # nobody is there to be told
            await self._response.aclose()

    def _over(self) -> None:
        self._given_back = True
        self._guard.release()
        self._driver.bodies.discard(self)
        self._driver.left()

    async def _give_back(self) -> None:
        if self._given_back:
            return
        self._over()
        with anyio.CancelScope(shield=True):  # a cancelled task gives its connection back all the same
            await self._end_pieces()
            await self._response.aclose()

    async def _end_pieces(self) -> None:
        """Run the nested generators of the HTTP client to their end: trio complains of each that is left suspended.

        Only the outermost can be closed from here, so that the socket is shut down under them instead, and they see its
        end. It is not closed: what is in their buffers may end the body, and then they keep the connection until its
        turn comes, when they find the end of file (trio can't even look at a socket that is closed).
        """
        if not self._guard.can_shut_down:  # as with HTTP/2, where other streams use the socket too
            close_pieces = getattr(self._pieces, "aclose", None)  # generators have it
            if close_pieces is not None:
                await close_pieces()
            return
        if not self._ended:
            self._guard.shut_down()
        with suppress(Exception):  # of whatever kind the HTTP client has for this
            async for _ in self._pieces:
                pass


class Nonblocking:
    """Carry out flows."""

    def __init__(self, http_client: AsyncHTTPClient | None, *, proxy: str | None, verify: Verify) -> None:
        """Prepare; nothing is opened yet.

        Args:
            http_client: The caller's; None to make one when it is first needed.
            proxy: For the one that is made.
            verify: For the one that is made.
        """
        kinds = "an httpx2.AsyncClient or httpx.AsyncClient"
        check_given(http_client, close="aclose", kinds=kinds, proxy=proxy, verify=verify)
        if http_client is None:
            preload()
        self._given = http_client
        self._made: AsyncHTTPClient | None = None
        self._load = Load()
        self.bodies = set[AsyncBody]()  # that are open
        self._asking: tuple[EventLoopToken, anyio.Lock] | None = None
        self._proxy, self._verify = checked_proxy(proxy), tls_context(verify)
        self._loop: EventLoopToken | None = None
        self._keeper: AsyncGenerator[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def asking(self, limit: float | None) -> AsyncGenerator[None]:
        """Hold the lock for asking the server for its models, which one call does for all; it is the event loop's.

        Args:
            limit: How many seconds to wait for it. Who has waited so long goes on without, to be told that its time is
                up.
        """
        loop = current_token()
        if self._asking is None or self._asking[0] != loop:
            self._asking = loop, anyio.Lock()
        lock = self._asking[1]
        with anyio.move_on_after(limit) as waiting:
            await lock.acquire()
        try:
            yield
        finally:
            if not waiting.cancelled_caught:
                lock.release()

    async def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its result."""
        return await self._drive(flow, [])

    async def open(self, flow: Flow[T]) -> tuple[T, AsyncBody]:
        """Carry out a flow that ends with an open body."""
        opened: list[AsyncBody] = []
        try:
            return await self._drive(flow, opened), opened.pop()
        finally:
            for body in opened:  # something was raised since: by a warning that the caller made an error, by cancelling
                await body.close()

    async def close(self) -> None:
        """End the answers that are still read, and close the HTTP client, if it was made here."""
        self._closed = True
        for body in tuple(self.bodies):
            if body.loop == current_token():
                await body.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None and self._loop == current_token():
            await keeper.aclose()

    def left(self) -> None:
        """Take note that a request is over."""
        if self._given is None:
            self._load.leave()

    async def _drive(self, flow: Flow[T], opened: list[AsyncBody]) -> T:
        outcome = Outcome[T]()
        steps = outcome.steps(flow)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Work):
                    # Not one of anyio's forty turns: threads that have them all may wait for this very call.
                    await to_thread.run_sync(step.do, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
                    step = next(steps)
                else:
                    step = steps.send(await self._exchange(step, opened))
        except StopIteration:
            return outcome.value
        except NemotronError as error:
            # The frames of the flow tell the caller nothing; the message does.
            raise error.with_traceback(None) from error.__cause__

    async def _exchange(self, request: Request, opened: list[AsyncBody]) -> Reply:
        if request.delay:
            await anyio.sleep(sooner(request.delay, request.deadline, monotonic()) or 0.0)
        http = await self._http()
        sent = monotonic()
        if request.deadline is not None and sent >= request.deadline:
            return Failure("total", "the time was up before it was sent", sent, sent)
        if self._given is None:
            self._load.enter()
        try:
            prepared = built_directly(request, sent) if self._given is None else built(http, request, sent)
            response = await http.send(prepared, stream=True, follow_redirects=False)
        except BaseException as error:  # cancelling too
            self.left()
            failure = to_failure(error, sent=sent, now=monotonic(), deadline=request.deadline, answering=False)
            if failure is None:
                raise
            return failure
        headers = read_headers(response, request)
        allow_silence(response, request, monotonic())
        body = AsyncBody(response, request, sent, driver=self)
        if self._closed:  # since it was sent
            await body.close()
        if request.expect == "stream" and response.status_code == 200:
            opened.append(body)
            return Response(response.status_code, headers, b"", sent, monotonic())
        try:
            content = await body.read_all()
        finally:
            await body.close()
        if isinstance(content, Failure):
            return content
        return Response(response.status_code, headers, content, sent, monotonic())

    async def _http(self) -> AsyncHTTPClient:
        if self._closed:
            msg = "This client was closed; make a new one."
            raise ConfigurationError(msg)
        if self._given is not None:
            check_open(self._given)
            return self._given
        loop = current_token()
        if self._made is None or self._loop != loop:
            if self._made is not None and self._loop is not None and is_running(self._loop):
                msg = (
                    "This AsyncNemotron belongs to another event loop, which is still running. Make one for each loop."
                )
                raise ConfigurationError(msg)
            self._made, self._loop = make_async_client(self._proxy, self._verify), loop
            self._keeper = _keep(self._made)
            await anext(self._keeper)
        return self._made


async def _keep(made: AsyncHTTPClient) -> AsyncGenerator[None]:
    """Close an HTTP client in its own event loop, at the latest when that ends, as it ends suspended generators."""
    try:
        yield
    finally:
        await made.aclose()
