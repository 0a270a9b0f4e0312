"""What stands in the place of a transport of httpx2 or httpx, whichever it is, blocking or not.

For each request it is told what to play to the client, or to send the request on and have the answer recorded.
"""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import isawaitable, iscoroutine
from typing import Any, Protocol, Self, TypeAlias
from urllib.parse import unquote

import anyio
from anyio.lowlevel import checkpoint

from nemotron_client._transport.watchdog import THREAD, shut_down
from nemotron_client.testing.playback import Broken, Exchange, Play
from nemotron_client.testing.recorded import RecordedRequest, header_values

_Of: TypeAlias = Any
"""An object of httpx2 or of httpx: they look the same, but neither library takes those of the other."""

LEFT = "The recording ends here, where the client left."
_MARK = b"data: [DONE]"
_PATIENCE = 5.0  # seconds
_OF_COMPRESSED = frozenset({b"content-encoding", b"content-length"})


class Recorder(Protocol):
    """What writes down an exchange with a real server."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take note of the headers."""
        ...

    def chunk(self, chunk: bytes) -> None:
        """Take note of a chunk."""
        ...

    def end(self, kind: str | None = None, message: str = "") -> None:
        """Take note of the end, or of the exception that was it; only the first time counts."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plug:
    """Say what becomes of requests.

    Args:
        answer: What to play; or what records the request, which is then sent on.
        left: Called when a client leaves in the middle of what is played.
        wait: Called with each delay in seconds; what it returns is awaited if it can be.
    """

    answer: Callable[[RecordedRequest], Exchange | Recorder]
    left: Callable[[], None]
    wait: Callable[[float], object]


class Blocking:
    """Stand in for a transport's `handle_request`."""

    def __init__(self, plug: Plug, send: Callable[[_Of], _Of]) -> None:
        """Begin.

        Args:
            plug: What becomes of requests.
            send: The method itself, for those that are sent on.
        """
        self.plug, self.send = plug, send
        self.is_out = False

    def handle(self, request: _Of) -> object:
        """Return a response of the library that the request is of; of the transport itself once this is out."""
        if self.is_out:
            return self.send(request)
        asked = _recorded(request, request.read())
        answer = self.plug.answer(asked)
        if not isinstance(answer, Exchange):
            tape = _Tape(request, answer)
            with tape.failures():
                response = self.send(request)
            return tape.response(response, response.iter_bytes())
        player = _Player(request, answer, self.plug)
        with player.failures():
            for seconds in player.play.head():
                player.wait_here(seconds)
        return player.response()


class Nonblocking:
    """Stand in for a transport's `handle_async_request`."""

    def __init__(self, plug: Plug, send: Callable[[_Of], Awaitable[_Of]]) -> None:
        """Begin, with what `Blocking` is given."""
        self.plug, self.send = plug, send
        self.is_out = False

    async def handle(self, request: _Of) -> object:
        """Return a response of the library that the request is of; of the transport itself once this is out."""
        if self.is_out:
            return await self.send(request)
        asked = _recorded(request, await request.aread())
        answer = self.plug.answer(asked)
        if not isinstance(answer, Exchange):
            tape = _Tape(request, answer)
            with tape.failures():
                response = await self.send(request)
            return tape.response(response, response.aiter_bytes())
        player = _Player(request, answer, self.plug)
        with player.failures():
            await checkpoint()  # as where there is a network: other tasks run, and a cancelled one ends
            try:
                for seconds in player.play.head():
                    await player.wait(seconds)
            except Broken as broken:
                await _let_it_leave(broken)
                raise
        return player.response()


async def _let_it_leave(broken: Broken) -> None:
    """Wait, in real time, where the client was cancelled when this was recorded: so it may be now."""
    if str(broken) == LEFT:
        await anyio.sleep(_PATIENCE)


def _recorded(request: _Of, body: bytes) -> RecordedRequest:
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return RecordedRequest(
        method=request.method, path=unquote(path), query=query, headers=header_values(request.headers.raw), body=body
    )


def _library(request: _Of) -> _Of:
    module: str = request.__class__.__module__
    return import_module(module.partition(".")[0])


@cache
def _stream(library: _Of, body: type) -> Callable[..., object]:
    """Return a body as the streams of that library, both of which it is, since a client looks at the class."""
    return type(body.__name__, (body, library.SyncByteStream, library.AsyncByteStream), {})


class _Player:
    """Play an exchange to a client of the library that the request is of."""

    def __init__(self, request: _Of, exchange: Exchange, plug: Plug) -> None:
        is_ours = request.headers.get("user-agent", "").startswith("nemotron-client/")
        self.play = Play(exchange, request.extensions.get("timeout", {}), is_ours=is_ours)
        self.plug = plug
        self.over = False
        self._exchange = exchange
        self._library = _library(request)

    def response(self) -> object:
        stream = _stream(self._library, _Played)(self)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self._exchange.headers.items()]
        return self._library.Response(self._exchange.status, headers=headers, stream=stream)

    def wait_here(self, seconds: float) -> None:
        waiting = self.plug.wait(seconds)
        if isawaitable(waiting):
            if iscoroutine(waiting):
                waiting.close()
            raise TypeError("sleep=... returns what is to be awaited, but this client is blocking: give time.sleep.")

    async def wait(self, seconds: float) -> None:
        waiting = self.plug.wait(seconds)
        if isawaitable(waiting):
            await waiting

    @contextmanager
    def failures(self) -> Generator[None]:
        """Turn what is played into the exception that the library would raise."""
        try:
            yield
        except Broken as broken:
            self.over = True
            if broken.kind == "ReadTimeout":
                self.leave()
            raise getattr(self._library, broken.kind)(str(broken)) from None
        except Exception:  # a mistake in a script
            self.over = True
            raise
        except BaseException:  # cancelled
            self.leave()
            raise

    def leave(self) -> None:
        """Take note of a client that leaves before the end."""
        self.over = True
        self.plug.left()


class _Played:
    """The body of what is played."""

    def __init__(self, player: _Player) -> None:
        self._player = player
        self._steps = player.play.body()
        self._last = b""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._player.failures():
            for step in self._steps:
                if isinstance(step, bytes):
                    self._last = step
                    return step
                self._player.wait_here(step)
        self._player.over = True
        raise StopIteration

    def close(self) -> None:
        # Of a stream that has failed or has its mark, no more is waited for.
        if not self._player.over and _MARK not in self._last and b'"error"' not in self._last:
            self._player.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._player.failures():
            await checkpoint()
            try:
                for step in self._steps:
                    if isinstance(step, bytes):
                        self._last = step
                        return step
                    await self._player.wait(step)
            except Broken as broken:
                await _let_it_leave(broken)
                raise
        self._player.over = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.close()


class _Tape:
    """Record what a real server answers."""

    def __init__(self, request: _Of, recorder: Recorder) -> None:
        self.recorder = recorder
        self.is_over_limit = False
        self.last = b""
        self._library = _library(request)

    def response(self, received: _Of, pieces: _Of) -> object:
        """Return the response that was received, with a body that is recorded, decompressed, while it is read."""
        # Of a compressed body nobody could read a difference, nor take a secret out.
        raw = [(name, value) for name, value in received.headers.raw if name.lower() not in _OF_COMPRESSED]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
        self.recorder.begin(received.status_code, headers)
        stream = _stream(self._library, _Taped)(self, received, pieces)
        extensions = {**received.extensions}
        if (network := extensions.get("network_stream")) is not None:
            extensions["network_stream"] = _NetworkStream(network, self)
        return self._library.Response(received.status_code, headers=raw, stream=stream, extensions=extensions)

    def take(self, piece: bytes) -> None:
        """Take note of a piece of the body."""
        self.last = piece
        self.recorder.chunk(piece)

    def end(self, error: Exception | None = None) -> None:
        """Take note of the end, which is not the server's where a time limit of the client's was over.

        After the mark of the end nobody waits for it, so that the limit is none that anybody hears of.
        """
        if self.is_over_limit and _MARK not in self.last:
            self.recorder.end("ReadTimeout", "The client's time limit was over.")
        elif error is not None:
            self.recorder.end(type(error).__name__, str(error))
        else:
            self.recorder.end()

    @contextmanager
    def failures(self) -> Generator[None]:
        """Take note of the network's failures."""
        try:
            yield
        except self._library.TransportError as error:
            self.end(error)
            raise


class _NetworkStream:
    """A network stream that notes when its socket is shut down, as a Nemotron does when a time limit is over."""

    def __init__(self, stream: _Of, tape: _Tape) -> None:
        self._stream, self._tape = stream, tape

    def get_extra_info(self, name: str) -> object:
        found = self._stream.get_extra_info(name)
        return found if name != "socket" or found is None else _Socket(found, self._tape)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class _Socket:
    def __init__(self, connection: _Of, tape: _Tape) -> None:
        self._socket, self._tape = connection, tape

    def shutdown(self, how: int, /) -> None:
        # Whoever leaves a stream shuts it down too, in a thread of its own.
        self._tape.is_over_limit = threading.current_thread().name == THREAD
        shut_down(self._socket, how)

    def __getattr__(self, name: str) -> object:
        return getattr(self._socket, name)


class _Taped:
    """A body that is recorded while it is read."""

    def __init__(self, tape: _Tape, received: _Of, pieces: _Of) -> None:
        self._tape, self._received, self._pieces = tape, received, pieces

    def __iter__(self) -> Iterator[bytes]:
        with self._tape.failures():
            for piece in self._pieces:
                self._tape.take(piece)
                yield piece
        self._tape.end()

    def close(self) -> None:
        self._tape.recorder.end("ReadError", LEFT)
        self._received.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._tape.failures():
            async for piece in self._pieces:
                self._tape.take(piece)
                yield piece
        self._tape.end()

    async def aclose(self) -> None:
        self._tape.recorder.end("ReadError", LEFT)
        await self._received.aclose()
