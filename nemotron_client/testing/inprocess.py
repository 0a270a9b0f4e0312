"""Stand in for the network under an HTTP client of httpx2 or httpx, whichever it is, blocking or not.

Fakes and cassettes plug in here: for each request they say what to play, or that it is to be sent on and recorded.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from importlib import import_module
from inspect import isawaitable, signature
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import unquote

from anyio.lowlevel import checkpoint

from nemotron_client.async_client import AsyncNemotron
from nemotron_client.client import Nemotron
from nemotron_client.testing.playback import Broken, Exchange, Play
from nemotron_client.testing.recorded import RecordedRequest, header_values

P = ParamSpec("P")
OwnT = TypeVar("OwnT")
ClientT = TypeVar("ClientT")

_Of: TypeAlias = Any
"""An object of httpx2 or of httpx: they look the same, but neither library takes those of the other."""

LEFT = "The recording ends here, where the client left."
_OF_COMPRESSED = frozenset({"content-encoding", "content-length"})


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


def _like(
    kind: Callable[P, ClientT],
) -> Callable[[Callable[[OwnT, dict[str, object]], None]], Callable[Concatenate[OwnT, P], ClientT]]:
    """Make a method that takes what a client's class takes; the decorated one may change the options."""

    def decorate(change: Callable[[OwnT, dict[str, object]], None]) -> Callable[Concatenate[OwnT, P], ClientT]:
        @wraps(change)
        def make(own: OwnT, /, *arguments: P.args, **options: P.kwargs) -> ClientT:
            change(own, options)
            return kind(*arguments, **options)

        of_kind = signature(kind)
        itself = next(iter(signature(change).parameters.values()))
        vars(make)["__signature__"] = of_kind.replace(
            parameters=[itself, *of_kind.parameters.values()], return_annotation=kind
        )
        return make

    return decorate


class InProcess:
    """Make clients whose requests are answered in the process, and attach HTTP clients that exist already."""

    def __init__(self, plug: Plug, options: Mapping[str, object], *, network: bool) -> None:
        """Begin with nothing attached.

        Args:
            plug: What becomes of requests.
            options: What clients are made with, where nothing else is given.
            network: Whether requests may be sent on.
        """
        self._plug = plug
        self._options = options
        self._network = network
        self._attached = ExitStack()

    @_like(Nemotron)
    def client(self, options: dict[str, object]) -> None:
        """Make a `Nemotron` whose requests are answered here; it takes what `Nemotron` takes."""
        import httpx2

        self._complete(options, httpx2.Client, httpx2.BaseTransport)

    @_like(AsyncNemotron)
    def async_client(self, options: dict[str, object]) -> None:
        """Make an `AsyncNemotron` whose requests are answered here; it takes what `AsyncNemotron` takes."""
        import httpx2

        self._complete(options, httpx2.AsyncClient, httpx2.AsyncBaseTransport)

    def attach(self, http_client: ClientT) -> ClientT:
        """Answer the requests of this HTTP client too, until `close`; return it.

        Args:
            http_client: A client of httpx2 or httpx, blocking or not.

        Raises:
            TypeError: It is something else.
        """
        self._take_over(http_client, self._attached)
        return http_client

    def _complete(self, options: dict[str, object], client: Callable[..., object], nothing: type) -> None:
        for name, value in self._options.items():
            if options.get(name) is None:
                options[name] = value
        given = options.get("http_client")
        if given is not None:
            self.attach(given)
            return
        if self._network:
            import httpx2

            # No connection is kept alive, since nobody would close it: a Nemotron leaves open what it was given.
            made = client(limits=httpx2.Limits(max_keepalive_connections=0))
        else:
            made = client(transport=nothing())
        self._take_over(made, ExitStack())  # for good: it is not to reach the network after the test
        options["http_client"] = made

    def _take_over(self, http_client: object, until: ExitStack) -> None:
        # As OpenTelemetry instruments httpx: neither library has a public way to change the transport of a client.
        transport: object = getattr(http_client, "_transport", None)
        mounts: Mapping[object, object] = getattr(http_client, "_mounts", {})  # the proxies
        if transport is None:
            raise TypeError(f"Only a client of httpx2 or httpx can be attached, not {http_client!r}.")
        for each in (transport, *mounts.values()):
            for name, handler in (("handle_request", _Blocking), ("handle_async_request", _Nonblocking)):
                send = getattr(each, name, None)
                if send is not None:
                    until.callback(_restore, each, name, vars(each).get(name))
                    setattr(each, name, handler(self._plug, send).handle)


def _restore(transport: object, name: str, before: object) -> None:
    if before is None:
        delattr(transport, name)
    else:
        setattr(transport, name, before)


class _Blocking:
    """Stand in for a transport's `handle_request`."""

    def __init__(self, plug: Plug, send: Callable[[_Of], _Of]) -> None:
        self._plug, self._send = plug, send

    def handle(self, request: _Of) -> object:
        asked = _recorded(request, request.read())
        answer = self._plug.answer(asked)
        if not isinstance(answer, Exchange):
            tape = _Tape(request, answer)
            with tape.failures():
                response = self._send(request)
            return tape.response(response, response.iter_bytes())
        player = _Player(request, answer, self._plug)
        with player.failures():
            for seconds in player.play.head():
                self._plug.wait(seconds)
        return player.response()


class _Nonblocking:
    """Stand in for a transport's `handle_async_request`."""

    def __init__(self, plug: Plug, send: Callable[[_Of], Awaitable[_Of]]) -> None:
        self._plug, self._send = plug, send

    async def handle(self, request: _Of) -> object:
        asked = _recorded(request, await request.aread())
        answer = self._plug.answer(asked)
        if not isinstance(answer, Exchange):
            tape = _Tape(request, answer)
            with tape.failures():
                response = await self._send(request)
            return tape.response(response, response.aiter_bytes())
        player = _Player(request, answer, self._plug)
        await checkpoint()  # as where there is a network: other tasks run, and a cancelled one ends
        with player.failures():
            for seconds in player.play.head():
                await player.wait(seconds)
        return player.response()


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
        self.play = Play(exchange, request.extensions.get("timeout", {}))
        self.plug = plug
        self.over = False
        self._exchange = exchange
        self._library = _library(request)

    def response(self) -> object:
        stream = _stream(self._library, _Played)(self)
        return self._library.Response(self._exchange.status, headers=self._exchange.headers, stream=stream)

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
            raise getattr(self._library, broken.kind)(str(broken)) from None


class _Played:
    """The body of what is played."""

    def __init__(self, player: _Player) -> None:
        self._player = player
        self._steps = player.play.body()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._player.failures():
            for step in self._steps:
                if isinstance(step, bytes):
                    return step
                self._player.plug.wait(step)
        self._player.over = True
        raise StopIteration

    def close(self) -> None:
        if not self._player.over:
            self._player.over = True
            self._player.plug.left()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        with self._player.failures():
            for step in self._steps:
                if isinstance(step, bytes):
                    return step
                await self._player.wait(step)
        self._player.over = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.close()


class _Tape:
    """Record what a real server answers."""

    def __init__(self, request: _Of, recorder: Recorder) -> None:
        self.recorder = recorder
        self._library = _library(request)

    def response(self, received: _Of, pieces: _Of) -> object:
        """Return the response that was received, with a body that is recorded, decompressed, while it is read."""
        # Of a compressed body nobody could read a difference, nor take a secret out.
        headers = {name: value for name, value in received.headers.items() if name.lower() not in _OF_COMPRESSED}
        self.recorder.begin(received.status_code, headers)
        stream = _stream(self._library, _Taped)(self, received, pieces)
        return self._library.Response(
            received.status_code, headers=headers, stream=stream, extensions=received.extensions
        )

    @contextmanager
    def failures(self) -> Generator[None]:
        """Take note of the network's failures."""
        try:
            yield
        except self._library.TransportError as error:
            self.recorder.end(type(error).__name__, str(error))
            raise


class _Taped:
    """A body that is recorded while it is read."""

    def __init__(self, tape: _Tape, received: _Of, pieces: _Of) -> None:
        self._tape, self._received, self._pieces = tape, received, pieces

    def __iter__(self) -> Iterator[bytes]:
        with self._tape.failures():
            for piece in self._pieces:
                self._tape.recorder.chunk(piece)
                yield piece
        self._tape.recorder.end()

    def close(self) -> None:
        self._tape.recorder.end("ReadError", LEFT)
        self._received.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._tape.failures():
            async for piece in self._pieces:
                self._tape.recorder.chunk(piece)
                yield piece
        self._tape.recorder.end()

    async def aclose(self) -> None:
        self._tape.recorder.end("ReadError", LEFT)
        await self._received.aclose()
