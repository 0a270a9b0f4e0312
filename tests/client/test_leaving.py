"""A stream that is left gives its connection back at once; one that is read to its end lets the next use it."""

import asyncio
import gc
import itertools
import threading
import warnings
import weakref
from collections.abc import Iterator
from importlib import import_module
from queue import Queue

import anyio
import anyio.lowlevel
import httpx2
import pytest

from nemotron_client import (
    AsyncNemotron,
    AsyncStream,
    ChatCompletionChunk,
    ConfigurationError,
    Nemotron,
    StreamInterruptedError,
    TextDelta,
)
from nemotron_client._transport.watchdog import Guard
from nemotron_client.testing import MockServer, Reply
from tests.client.conftest import NO_CERTIFICATES, Connect, Variant
from tests.client.either import Either, in_thread

BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'
DONE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def endless(server: MockServer) -> MockServer:
    server.always(Reply(chunks=itertools.repeat(BEGUN), chunk_delay=0.005))
    return server


@pytest.fixture
def silent(server: MockServer) -> MockServer:
    server.always(Reply(chunks=[BEGUN], end="hang"))
    return server


async def left(server: MockServer, count: int = 1) -> bool:
    """Tell whether the server has seen clients leave, and no connection is open."""
    return await in_thread(lambda: server.wait_for_disconnect(count) and server.open_connections == 0)


async def test_break(client: Either, endless: MockServer) -> None:
    async with client.stream() as stream:
        async for event in stream:
            assert event == TextDelta("Once")
            break
    assert await left(endless)
    async with await client.create_stream() as chunks:
        async for _ in chunks:
            break
    assert await left(endless, 2)


async def test_an_exception(client: Either, endless: MockServer) -> None:
    async def fail() -> None:
        async with client.stream() as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await left(endless)


async def test_break_out_of_the_text(client: Either, endless: MockServer) -> None:
    async with client.stream() as stream:
        async for delta in stream.text_deltas():
            assert delta == "Once"
            break
    assert await left(endless)


async def test_nothing_read_at_all(client: Either, endless: MockServer) -> None:
    async with client.stream():
        pass
    assert await left(endless)


async def test_a_rest_that_has_already_arrived_is_no_trouble_for_the_next(client: Either, server: MockServer) -> None:
    for _ in range(3):
        server.reply(Reply(chunks=[BEGUN + BEGUN + DONE]))
        async with client.stream() as stream:
            await anext(aiter(stream))
    assert (await client.create()).text
    assert await in_thread(lambda: server.open_connections) == 1


async def test_what_was_left_can_not_be_read_on(client: Either, endless: MockServer) -> None:
    async with client.stream() as stream:
        await anext(aiter(stream))
    await stream.close()
    with pytest.raises(StreamInterruptedError, match="This stream is closed"):
        await stream.until_done()
    assert stream.snapshot.text.startswith("Once")
    assert await left(endless)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Be told when a read begins."""
    begun = threading.Event()
    arm = Guard.arm

    def arm_and_tell(guard: Guard, progress: int) -> None:
        arm(guard, progress)
        begun.set()

    monkeypatch.setattr(Guard, "arm", arm_and_tell)
    return begun


@pytest.mark.parametrize("closed", ["stream", "client"])
async def test_close_from_elsewhere_ends_a_read_that_waits(
    closed: str, connect: Connect, silent: MockServer, reading: threading.Event
) -> None:
    """Another thread closes the blocking one, another task the asynchronous one."""
    client = connect()

    async def close() -> None:
        await in_thread(reading.wait)
        await (stream if closed == "stream" else client).close()

    with anyio.fail_after(5):
        async with client.stream() as stream, anyio.create_task_group() as others:
            await anext(aiter(stream))
            reading.clear()
            others.start_soon(close)
            with pytest.raises(StreamInterruptedError, match="This stream is closed") as caught:
                await stream.until_done()
            assert caught.value.partial is not None
            assert caught.value.partial.text == "Once"
    assert await left(silent)
    silent.always(None)
    assert (await (client if closed == "stream" else connect()).create()).text


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_a_cancelled_task_gives_its_connection_back(
    client: Either, silent: MockServer, reading: threading.Event
) -> None:
    async def read() -> None:
        async with client.stream() as stream:
            await stream.until_done()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await in_thread(reading.wait)
        tasks.cancel_scope.cancel()
    assert await left(silent)


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
@pytest.mark.parametrize("reply", [Reply(status=0, end="hang"), Reply(body=b"{", end="hang")], ids=["headers", "body"])
async def test_a_task_that_is_cancelled_while_it_waits_for_an_answer_gives_its_connection_back(
    reply: Reply, client: Either, server: MockServer
) -> None:
    server.always(reply)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.create)
        while not server.posts:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await left(server)
    server.always(None)
    assert (await client.create()).text


async def test_a_stream_that_is_left_open_is_a_resource_warning(client: Either, endless: MockServer) -> None:
    stream = await client.create_stream()
    with warnings.catch_warnings(record=True, action="always") as caught:  # trio complains of generators too
        del stream
        with anyio.fail_after(5):  # the thread that opened it may hold it a moment longer
            while not any("Stream was left open" in str(each.message) for each in caught):
                gc.collect()
                await anyio.wait_all_tasks_blocked()
    assert {each.category for each in caught if "Stream was left open" in str(each.message)} == {ResourceWarning}
    assert await left(endless)


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
@pytest.mark.filterwarnings("ignore:(Async)?Stream was left open:ResourceWarning")
async def test_a_stream_that_is_dropped_unread_gives_its_place_in_the_pool_back(
    name: str, variant: Variant, endless: MockServer
) -> None:
    library = import_module(name)
    limits = library.Limits(max_connections=1)
    if variant == "sync":
        with library.Client(verify=NO_CERTIFICATES, limits=limits) as one:
            await drop_and_ask(Either(Nemotron(base_url=endless.base_url, http_client=one)), endless)
    else:
        async with library.AsyncClient(verify=NO_CERTIFICATES, limits=limits) as one:
            await drop_and_ask(Either(AsyncNemotron(base_url=endless.base_url, http_client=one)), endless)


async def drop_and_ask(client: Either, server: MockServer) -> None:
    await client.create_stream()
    server.always(None)
    with anyio.fail_after(5):
        assert (await client.create(timeout=5)).text


@pytest.mark.filterwarnings("ignore:AsyncStream was left open:ResourceWarning")
def test_it_does_so_too_where_anyio_did_not_start_the_event_loop(endless: MockServer) -> None:
    async def drop() -> None:
        async with httpx2.AsyncClient(verify=NO_CERTIFICATES, limits=httpx2.Limits(max_connections=1)) as one:
            client = AsyncNemotron(base_url=endless.base_url, http_client=one)
            stream = await client.chat.completions.create(messages="Hello", stream=True)
            await anext(stream)
            del stream
            gc.collect()
            endless.always(None)
            assert (await client.chat.completions.create(messages="Hello", timeout=5)).text

    asyncio.run(drop())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.filterwarnings("ignore:AsyncStream was left open:ResourceWarning")
def test_a_stream_and_its_client_may_be_left_when_their_event_loop_is_over(backend: str, endless: MockServer) -> None:
    client = AsyncNemotron(base_url=endless.base_url, model="m", verify=NO_CERTIFICATES)

    async def open_stream() -> AsyncStream[ChatCompletionChunk]:
        return await client.chat.completions.create(messages="Hello", stream=True)

    stream = anyio.run(open_stream, backend=backend)
    anyio.run(client.close, backend=backend)
    del stream
    gc.collect()
    assert endless.wait_for_disconnect()


class Locking(httpx2.SyncByteStream):
    """A body that takes a lock to close, as those of a connection pool do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed: Queue[bool] = Queue()

    def __iter__(self) -> Iterator[bytes]:
        yield BEGUN

    def close(self) -> None:
        self.closed.put(self.lock.acquire(timeout=5))


@pytest.mark.filterwarnings("ignore:Stream was left open:ResourceWarning")
def test_a_stream_may_be_collected_while_its_thread_holds_the_lock_that_closing_needs() -> None:
    body = Locking()
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=body))
    client = Nemotron(api_key="made-up", http_client=httpx2.Client(transport=transport))
    stream = client.chat.completions.create(messages="Hello", stream=True)
    with body.lock:
        del stream
        gc.collect()
        assert body.closed.empty()
    assert body.closed.get(timeout=5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # trio's, of what nobody closed
async def test_a_stream_outlives_the_name_of_its_client(
    kind: type[Nemotron | AsyncNemotron], server: MockServer
) -> None:
    server.always(Reply(chunks=[BEGUN, BEGUN, DONE], chunk_delay=0.02))  # the rest is still to come
    client = Either(kind(base_url=server.base_url, model="m", verify=NO_CERTIFICATES))
    stream = await client.create_stream()
    owner = weakref.ref(client.inner)
    del client
    gc.collect()
    assert owner() is None
    async with stream:
        assert len(await stream.items()) == 3
    assert stream.snapshot.text == "OnceOnce"


async def test_a_stream_is_opened_once(client: Either, server: MockServer) -> None:
    unopened = client.stream()
    async with unopened as stream:
        await stream.until_done()
    with pytest.raises(ConfigurationError, match="was opened before"):
        await unopened.__aenter__()
    assert server.posts == 1


@pytest.mark.parametrize("variant", ["asyncio", "trio"], indirect=True)
async def test_of_two_tasks_that_open_a_stream_one_is_refused(client: Either, server: MockServer) -> None:
    unopened, refused = client.stream(), list[str]()

    async def read() -> None:
        try:
            async with unopened as stream:
                await stream.until_done()
        except ConfigurationError as error:
            refused.append(error.message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(read)
    assert (len(refused), server.posts) == (1, 1)


async def test_a_stream_that_was_never_opened_is_none(client: Either) -> None:
    client.stream()
    gc.collect()


async def test_a_stream_read_to_its_end_hands_its_connection_on(client: Either, server: MockServer) -> None:
    for _ in range(5):
        async with client.stream() as stream:
            await stream.until_done()
        assert await in_thread(lambda: server.open_connections) == 1
    assert server.disconnects == 0


async def test_a_stream_that_is_closed_after_its_end_hands_it_on_too(client: Either, server: MockServer) -> None:
    for _ in range(3):
        stream = await client.create_stream()
        await stream.items()
        await stream.close()
        await stream.close()
    assert await in_thread(lambda: server.open_connections) == 1


async def test_an_answer_that_is_cut_short_frees_its_connection(client: Either, server: MockServer) -> None:
    server.always(Reply(chunks=[BEGUN, b"data: {\n\n"], end="hang"))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.until_done()
        assert await left(server)
