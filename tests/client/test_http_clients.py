"""The caller's own HTTP client: httpx2 or httpx, over sockets or in the process, HTTP/1.1 or HTTP/2."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from time import sleep
from types import MappingProxyType
from typing import Any, Protocol, Self

import anyio
import httpx
import httpx2
import pytest

from nemotron_client import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncNemotron,
    ConfigurationError,
    InternalServerError,
    Nemotron,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    Timeout,
)
from nemotron_client.testing import MockServer, Reply, cut, error, text
from tests.client.conftest import NO_CERTIFICATES, Clock, Connect, InProcess, Settings, Variant
from tests.client.either import Either, in_thread
from tests.client.http2_server import HTTP2Server

BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'


class HTTPClient(Protocol):
    """What the four kinds have in common here."""

    @property
    def is_closed(self) -> bool: ...


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
async def http_client(request: pytest.FixtureRequest, variant: Variant) -> AsyncIterator[HTTPClient]:
    library = request.param
    if variant == "sync":
        with library.Client(verify=NO_CERTIFICATES, follow_redirects=True) as http_client:
            yield http_client
    else:
        async with library.AsyncClient(verify=NO_CERTIFICATES, follow_redirects=True) as http_client:
            yield http_client


@pytest.fixture
def client(http_client: HTTPClient, server: MockServer) -> Either:
    url = server.base_url
    if isinstance(http_client, httpx.Client | httpx2.Client):
        return Either(Nemotron(base_url=url, http_client=http_client))
    assert isinstance(http_client, httpx.AsyncClient | httpx2.AsyncClient)
    return Either(AsyncNemotron(base_url=url, http_client=http_client))


async def test_it_is_used_and_left_open(client: Either, http_client: HTTPClient, server: MockServer) -> None:
    assert (await client.create()).text
    assert "nemotron-client/" in server.requests[-1].headers["user-agent"]
    await client.close()
    assert not http_client.is_closed
    assert await in_thread(lambda: server.open_connections) == 1


async def test_it_streams(client: Either, server: MockServer) -> None:
    async with client.stream() as stream:
        assert await stream.get_final_text() == "Hello! How can I help you today?"
    assert await in_thread(lambda: server.open_connections) == 1


async def test_leaving_a_stream_frees_its_connection(client: Either, server: MockServer) -> None:
    server.reply(Reply(chunks=[BEGUN], end="hang"))
    async with client.stream() as stream:
        assert await anext(aiter(stream)) == TextDelta("Once")
    assert await in_thread(server.wait_for_disconnect)
    assert (await client.create()).text


async def test_its_errors_are_ours(client: Either, server: MockServer, clock: Clock) -> None:
    server.reply(Reply(status=0, end="reset"), error(500, "Oops"), error(500, "Oops"), cut(text("Hello"), after=2))
    with pytest.raises(InternalServerError) as caught:
        await client.create()
    assert [attempt.status_code for attempt in caught.value.attempts] == [None, 500, 500]
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.until_done()
    assert len(clock.waits) == 2
    server.close()
    with pytest.raises(APIConnectionError, match="nothing listens there"):
        await client.create()


async def test_time_limits_hold(client: Either, server: MockServer) -> None:
    server.reply(Reply(status=0, end="hang"), Reply(chunks=[BEGUN], end="hang"))
    with pytest.raises(APITimeoutError, match="no answer in time"):
        await client.create(timeout=Timeout(first_event=0.1))
    async with client.stream(timeout=Timeout(idle=0.1)) as stream:
        with pytest.raises(StreamTimeoutError) as caught:
            await stream.until_done()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Once"


async def test_redirects_are_not_followed_whatever_it_was_told(client: Either, server: MockServer) -> None:
    server.reply(Reply(status=307, headers={"location": f"{server.base_url}/elsewhere"}))
    with pytest.raises(APIStatusError, match="307"):
        await client.create()
    assert server.posts == 1


@pytest.mark.parametrize("settings", [Settings(proxy="http://localhost:3128"), Settings(verify=False)])
async def test_what_it_does_itself_is_not_told_to_us(settings: Settings, in_process: InProcess) -> None:
    with pytest.raises(ConfigurationError, match="Give proxy and verify to the http_client itself"):
        in_process(lambda _: httpx2.Response(200), **settings)


class TestInProcess:
    """A transport with no socket, as tests and applications that serve themselves use it."""

    async def test_it_answers_and_streams(self, in_process: InProcess) -> None:
        def answer(request: httpx2.Request) -> httpx2.Response:
            if b'"stream"' in request.content:
                return httpx2.Response(200, content=BEGUN + b'data: {"choices":[{"finish_reason":"stop"}]}\n\n')
            return httpx2.Response(200, json={"choices": [{"message": {"content": "Hi"}}]})

        client = in_process(answer)
        assert (await client.create()).text == "Hi"
        async with client.stream() as stream:
            assert await stream.get_final_text() == "Once"
        async with client.stream() as stream:
            await anext(aiter(stream))

    async def test_a_header_that_comes_twice_is_joined(self, in_process: InProcess) -> None:
        headers = [("X-Part", "a"), ("x-part", "b")]
        client = in_process(lambda _: httpx2.Response(200, headers=headers, json={"choices": [{}]}))
        assert (await client.create()).response.headers["x-part"] == "a, b"

    async def test_closing_a_stream_that_is_being_read_ends_the_read(self, in_process: InProcess) -> None:
        stuck = Stuck()
        client = in_process(lambda _: httpx2.Response(200, stream=stuck))

        async def close() -> None:
            await in_thread(stuck.reading.wait)
            await stream.close()

        with anyio.fail_after(5):
            async with client.stream() as stream, anyio.create_task_group() as others:
                others.start_soon(close)
                with pytest.raises(StreamInterruptedError, match="This stream is closed"):
                    await stream.until_done()
        assert stream.snapshot.text == "Once"

    async def test_what_comes_when_the_client_was_closed_is_not_read(self, variant: Variant) -> None:
        transport = Closing()
        for read in (Either.create, create_stream_and_read):
            if variant == "sync":
                blocking = Nemotron(api_key="made-up", http_client=httpx2.Client(transport=transport))
                client, transport.close_client = Either(blocking), blocking.close
            else:
                http = httpx2.AsyncClient(transport=transport)
                asynchronous = AsyncNemotron(api_key="made-up", http_client=http)
                client, transport.aclose_client = Either(asynchronous), asynchronous.close
            with pytest.raises(APIError, match="closed"):
                await read(client)

    @pytest.mark.parametrize(
        ("raised", "kind"),
        [(httpx2.ReadError("gone"), StreamInterruptedError), (ZeroDivisionError(), ZeroDivisionError)],
    )
    async def test_an_exception_in_the_middle(
        self, raised: Exception, kind: type[Exception], in_process: InProcess
    ) -> None:
        client = in_process(lambda _: httpx2.Response(200, stream=Failing(raised)))
        async with client.stream() as stream:
            with pytest.raises(kind):
                await stream.until_done()
        assert stream.snapshot.text == "Once"
        with pytest.raises(ZeroDivisionError if kind is ZeroDivisionError else APIConnectionError):
            await client.create()

    @pytest.mark.parametrize("limits", [Timeout(idle=0.05), Timeout(idle=None, total=0.3)], ids=["idle", "total"])
    async def test_a_stream_of_comments_ends_at_its_limit(self, limits: Timeout, in_process: InProcess) -> None:
        client = in_process(lambda _: httpx2.Response(200, stream=Chatting()))
        async with client.stream(timeout=limits) as stream:
            with pytest.raises(StreamTimeoutError) as caught:
                await stream.until_done()
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Once"

    @pytest.mark.parametrize("variant", ["asyncio", "trio"])
    async def test_a_client_of_neither_library_will_do(self) -> None:
        client = AsyncNemotron(api_key="made-up", http_client=PlainClient())
        async with client.chat.completions.stream(messages="Hello") as stream:
            assert await anext(stream) == TextDelta("Once")


class PlainBody:
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return BEGUN


class PlainRequest:
    extensions = MappingProxyType[str, object]({})


class PlainResponse:
    """What a client needs of a response, and nothing more."""

    request = PlainRequest()
    status_code = 200
    headers = httpx2.Headers()
    http_version = "HTTP/1.1"
    is_stream_consumed = False
    extensions = MappingProxyType[str, object]({})
    stream = PlainBody()

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


class PlainClient:
    """What a client needs of an HTTP client."""

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: Mapping[str, str],
        timeout: tuple[float | None, ...],
    ) -> str:
        assert (method, url) == ("POST", "https://integrate.api.nvidia.com/v1/chat/completions")
        assert content is not None
        assert headers["authorization"] == "Bearer made-up"
        assert len(timeout) == 4
        return "the request"

    async def send(self, request: str, *, stream: bool, follow_redirects: bool) -> PlainResponse:
        assert request == "the request"
        assert stream
        assert not follow_redirects
        return PlainResponse()

    async def aclose(self) -> None:
        raise NotImplementedError


class Stuck(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that says one thing and then nothing until it is closed."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield BEGUN
        self.reading.set()
        self._closed.wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BEGUN
        self.reading.set()
        await in_thread(self._closed.wait)

    def close(self) -> None:
        self._closed.set()

    async def aclose(self) -> None:
        self._closed.set()


async def create_stream_and_read(client: Either) -> object:
    return await (await client.create_stream()).items()


class Closing(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A server that answers just when the client was closed."""

    close_client: Callable[[], None]
    aclose_client: Callable[[], Awaitable[None]]

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert request.method == "POST"
        self.close_client()
        return httpx2.Response(200, content=BEGUN)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert request.method == "POST"
        await self.aclose_client()
        return httpx2.Response(200, content=BEGUN)


class Chatting(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that says one thing and then sends comments for ever."""

    def __iter__(self) -> Iterator[bytes]:
        yield BEGUN
        while True:
            sleep(0.01)
            yield b": x\n\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BEGUN
        while True:
            await anyio.sleep(0.01)
            yield b": x\n\n"


class Failing(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that fails in the middle."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield BEGUN
        raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BEGUN
        raise self._error


class TestHTTP2:
    @pytest.fixture
    def server(self) -> Iterator[HTTP2Server]:
        with HTTP2Server() as server:
            yield server

    @pytest.fixture
    async def client(self, variant: Variant, server: HTTP2Server) -> AsyncIterator[Either]:
        url = server.base_url
        if variant == "sync":
            with httpx2.Client(verify=NO_CERTIFICATES, http1=False, http2=True) as http_client:
                yield Either(Nemotron(base_url=url, model="m", http_client=http_client))
        else:
            async with httpx2.AsyncClient(verify=NO_CERTIFICATES, http1=False, http2=True) as http_client:
                yield Either(AsyncNemotron(base_url=url, model="m", http_client=http_client))

    async def test_it_answers_and_streams_over_one_connection(self, client: Either, server: HTTP2Server) -> None:
        assert (await client.create()).text == "Hi"
        async with client.stream(max_tokens=1) as stream:
            assert await stream.get_final_text() == "Once"
        assert (await client.create()).text == "Hi"
        assert server.connections == 1

    @pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio's, of the HTTP client's generators
    async def test_leaving_a_stream_leaves_the_connection_to_the_others(
        self, client: Either, server: HTTP2Server
    ) -> None:
        async with client.stream() as stream:
            async for _ in stream:
                break
        assert (await client.create()).text == "Hi"
        assert server.connections == 1

    async def test_a_silent_stream_ends_by_the_http_clients_own_limit(self, client: Either) -> None:
        async with client.stream(timeout=Timeout(first_event=0.1, idle=0.1)) as stream:
            with pytest.raises(StreamTimeoutError):
                await stream.until_done()


async def test_a_header_of_the_callers_takes_the_place_of_the_http_librarys(
    connect: Connect, server: MockServer
) -> None:
    await connect(headers={"Accept-Encoding": "identity"}).create()
    assert server.requests[-1].headers["accept-encoding"] == "identity"


class Session:
    """As that of requests, which can send and be closed."""

    def send(self) -> None: ...
    def close(self) -> None: ...
    def aclose(self) -> None: ...


def test_the_class_in_place_of_an_http_client_is_told_at_once() -> None:
    given: Any = httpx2.Client
    for kind in (Nemotron, AsyncNemotron):
        with pytest.raises(ConfigurationError, match="http_client is the class Client itself: give an httpx2"):
            kind(base_url="http://localhost:8000/v1", http_client=given)


async def test_an_http_client_that_was_closed_is_told(client: Either, http_client: HTTPClient) -> None:
    if isinstance(http_client, httpx.Client | httpx2.Client):
        http_client.close()
    elif isinstance(http_client, httpx.AsyncClient | httpx2.AsyncClient):
        await http_client.aclose()
    with pytest.raises(ConfigurationError, match="http_client that this client was given is closed"):
        await client.create()


@pytest.mark.parametrize("wrong", ["x", 5, Session()])
def test_what_is_no_http_client_is_told_at_once(wrong: object) -> None:
    given: Any = wrong
    for kind in (Nemotron, AsyncNemotron):
        with pytest.raises(ConfigurationError, match=f"http_client is of type {type(wrong).__name__}"):
            kind(base_url="http://localhost:8000/v1", http_client=given)


def test_a_client_of_the_other_kind_is_told_at_once() -> None:
    blocking: Any = httpx2.Client
    nonblocking: Any = httpx2.AsyncClient
    with pytest.raises(ConfigurationError, match=r"http_client is of type AsyncClient: give an httpx2\.Client"):
        Nemotron(base_url="http://localhost:8000/v1", http_client=nonblocking())
    with blocking() as given, pytest.raises(ConfigurationError, match=r"give an httpx2\.AsyncClient"):
        AsyncNemotron(base_url="http://localhost:8000/v1", http_client=given)


def test_a_hook_that_cannot_be_called_is_told_at_once() -> None:
    hook: Any = 5
    with pytest.raises(ConfigurationError, match="on_event=5 can't be called"):
        Nemotron(base_url="http://localhost:8000/v1", on_event=hook)


def test_a_proxy_that_is_no_url_is_told_at_once() -> None:
    proxy: Any
    for proxy in ("localhost:3128", 5):
        with pytest.raises(ConfigurationError, match="proxy is no URL"):
            Nemotron(base_url="http://localhost:8000/v1", proxy=proxy)
