"""Many tasks and threads at once, and event loops that come and go."""

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest
import trio
from anyio.abc import TaskStatus

from nemotron_client import APIConnectionError, AsyncNemotron, ConfigurationError, Nemotron
from nemotron_client._transport.blocking import Blocking
from nemotron_client._transport.clients import Trust, make_client
from nemotron_client._transport.http import HTTPClient
from nemotron_client.testing import MockServer, RecordedRequest, Reply, problem, text
from tests.client.conftest import Connect
from tests.client.either import in_thread

FAST = 20


def fast_now() -> float:
    return time.monotonic() * FAST


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second last a twentieth of one, for client and server alike."""
    sleep_in_task, sleep = anyio.sleep, time.sleep

    def nap(seconds: float) -> None:
        sleep(seconds / FAST)

    async def nap_in_task(seconds: float) -> None:
        await sleep_in_task(seconds / FAST)

    for module in ("resources", "async_resources", "_transport.blocking", "_transport.nonblocking"):
        monkeypatch.setattr(f"nemotron_client.{module}.monotonic", fast_now)
    monkeypatch.setattr("nemotron_client._transport.blocking.sleep", nap)
    monkeypatch.setattr("anyio.sleep", nap_in_task)


@pytest.mark.usefixtures("fast_clock")
async def test_many_requests_at_once_keep_to_what_a_server_allows(connect: Connect, server: MockServer) -> None:
    allowed: list[float] = []

    def ten_in_two_seconds(request: RecordedRequest) -> Reply:
        now = fast_now()
        if sum(each > now - 2 for each in allowed) >= 10:
            return problem(429, "Too Many Requests")
        allowed.append(now)
        return text("Hello")(request)

    server.always(ten_in_two_seconds)
    client = connect()
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await client.create()).text)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert answers == ["Hello"] * 20
    assert server.posts <= 30


@pytest.fixture
def one_connection(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("nemotron_client._transport.clients._MOST_CONNECTIONS", 1)
    caplog.set_level("INFO", logger="nemotron_client")
    return caplog


async def test_requests_over_the_limit_of_connections_queue_and_the_log_tells(
    connect: Connect, server: MockServer, one_connection: pytest.LogCaptureFixture
) -> None:
    client = connect(timeout=10)
    server.always(lambda request: replace(text("Hello")(request), delay=0.01))
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(client.create)
    assert server.posts == 4
    assert "2 requests are under way: one waits for one of 1 connections" in one_connection.messages


async def test_what_failed_is_under_way_no_longer(
    connect: Connect, server: MockServer, one_connection: pytest.LogCaptureFixture
) -> None:
    client = connect(max_retries=0)
    server.reply(Reply(status=0, end="reset"))
    with pytest.raises(APIConnectionError):
        await client.create()
    await client.create()
    assert one_connection.messages == []


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_a_stream_whose_reader_is_cancelled_at_something_else_makes_room_for_the_next(
    connect: Connect, server: MockServer, one_connection: pytest.LogCaptureFixture
) -> None:
    client = connect()
    server.reply(Reply(chunks=[b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'], end="hang"))

    async def read(*, task_status: TaskStatus[None]) -> None:
        async with client.stream() as stream:
            await anext(aiter(stream))
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(read)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        assert (await client.create()).text
    assert one_connection.messages == []


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_what_was_cancelled_is_under_way_no_longer(
    connect: Connect, server: MockServer, one_connection: pytest.LogCaptureFixture
) -> None:
    client = connect()
    server.reply(Reply(status=0, end="hang"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.create)
        while not server.posts:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await client.create()
    assert one_connection.messages == []


def test_one_blocking_client_serves_fifty_threads(server: MockServer) -> None:
    together = threading.Barrier(50)

    def ask(number: int) -> str:
        together.wait()
        with client.chat.completions.stream(messages=f"number {number}") as stream:
            return stream.get_final_text() + client.chat.completions.create(messages="Hello").text

    with (
        Nemotron(base_url=server.base_url, model="mistralai/mistral-nemotron") as client,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = list(pool.map(ask, range(50)))
    assert answers == [f"You said: number {number}Hello! How can I help you today?" for number in range(50)]
    assert server.posts == 100


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_asynchronous_client_serves_loop_after_loop_and_leaves_nothing_behind(
    backend: str, server: MockServer
) -> None:
    client = AsyncNemotron(base_url=server.base_url)

    async def ask() -> None:
        assert (await client.chat.completions.create(messages="Hello")).text
        async with client.chat.completions.stream(messages="Hello") as stream:
            await stream.until_done()

    for _ in range(3):
        anyio.run(ask, backend=backend)
        gc.collect()
        assert server.open_connections == 0
    anyio.run(client.close, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_asynchronous_client_that_nobody_closes_makes_no_noise(backend: str, server: MockServer) -> None:
    async def ask() -> None:
        client = AsyncNemotron(base_url=server.base_url)
        kept.append(client)
        await client.models.list()

    kept: list[AsyncNemotron] = []
    anyio.run(ask, backend=backend)
    kept.clear()
    gc.collect()
    assert server.open_connections == 0


def test_a_client_may_go_from_asyncio_to_trio(server: MockServer) -> None:
    client = AsyncNemotron(base_url=server.base_url)

    async def ask() -> None:
        assert (await client.chat.completions.create(messages="Hello")).text

    asyncio.run(ask())
    trio.run(ask)
    asyncio.run(ask())
    trio.run(client.close)


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_an_asynchronous_client_in_two_running_loops_says_that_it_can_not(
    other: str, connect: Connect, server: MockServer
) -> None:
    client = connect().inner
    assert isinstance(client, AsyncNemotron)
    await client.chat.completions.create(messages="Hello")

    async def ask_from_another() -> None:
        await client.chat.completions.create(messages="Hello")

    with pytest.raises(ConfigurationError, match="another event loop"):
        await in_thread(lambda: anyio.run(ask_from_another, backend=other))
    assert (await client.chat.completions.create(messages="Hello")).text
    assert server.posts == 2


def test_a_process_that_is_forked_while_the_server_is_asked_for_its_models_does_not_wait_for_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Blocking(None, proxy=None, verify=True)
    with driver.asking(None), monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: 0)
        with driver.asking(None):
            pass


def test_a_process_that_is_forked_while_its_http_client_is_made_makes_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch, server: MockServer
) -> None:
    made: list[HTTPClient] = []

    def make(proxy: str | None, verify: Trust) -> HTTPClient:
        made.append(make_client(proxy, verify))
        if len(made) == 1:
            with monkeypatch.context() as child:
                child.setattr(os, "getpid", lambda: 0)
                assert client.server.live()
            made[1].close()
            return made[0]
        return made[1]

    monkeypatch.setattr("nemotron_client._transport.blocking.make_client", make)
    with Nemotron(base_url=server.base_url) as client:
        assert client.server.live()
    assert len(made) == 2
