"""Every behaviour runs three times: with the blocking client, and with the asynchronous one on asyncio and on trio."""

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, TypedDict, Unpack

import anyio.lowlevel
import httpx2
import pytest

from nemotron_client import (
    Approval,
    AsyncNemotron,
    HookEvent,
    Nemotron,
    RetryPolicy,
    RunOptions,
    Timeout,
    TokenBudget,
    ToolRun,
)
from nemotron_client._transport.watchdog import WATCHDOG
from nemotron_client.start import Claim
from nemotron_client.testing import MockServer
from tests.client.either import Either, Messages, Tools

Variant = Literal["sync", "asyncio", "trio"]

# Reading the system's certificates takes 20 ms and more; no test talks TLS to a server that has one.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Settings(TypedDict, total=False):
    """What both clients take, `http_client` aside."""

    api_key: str | None
    base_url: str | None
    model: str | None
    timeout: Timeout | float | None
    max_retries: int | None
    retry: RetryPolicy | None
    budget: TokenBudget | None
    headers: Mapping[str, str] | None
    proxy: str | None
    verify: bool | str | os.PathLike[str] | ssl.SSLContext
    on_event: Callable[[HookEvent], object] | None
    allow_insecure: bool


class Connect(Protocol):
    """Make a client, of the mock server where no other base URL is given."""

    def __call__(self, **settings: Unpack[Settings]) -> Either: ...


@pytest.fixture(params=["sync", "asyncio", "trio"])
def variant(request: pytest.FixtureRequest) -> Variant:
    variant: Variant = request.param
    return variant


@pytest.fixture
def kind(variant: Variant) -> type[Nemotron | AsyncNemotron]:
    return Nemotron if variant == "sync" else AsyncNemotron


@pytest.fixture
def anyio_backend(variant: Variant) -> str:
    return "trio" if variant == "trio" else "asyncio"


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


@pytest.fixture
async def connect(variant: Variant, server: MockServer) -> AsyncIterator[Connect]:
    made: list[Either] = []

    def connect(**settings: Unpack[Settings]) -> Either:
        kind = Nemotron if variant == "sync" else AsyncNemotron
        settings.setdefault("base_url", server.base_url)
        settings.setdefault("model", "mistralai/mistral-nemotron")
        settings.setdefault("verify", NO_CERTIFICATES)
        client = Either(kind(**settings))
        made.append(client)
        return client

    yield connect
    for client in made:
        await client.close()


@pytest.fixture
def client(connect: Connect) -> Either:
    return connect()


class InProcess(Protocol):
    """Make a client whose HTTP client hands requests to a function, with no socket; hosted by default."""

    def __call__(
        self, handler: Callable[[httpx2.Request], httpx2.Response], **settings: Unpack[Settings]
    ) -> Either: ...


@pytest.fixture
def in_process(variant: Variant) -> InProcess:
    def in_process(handler: Callable[[httpx2.Request], httpx2.Response], **settings: Unpack[Settings]) -> Either:
        settings.setdefault("api_key", "made-up")
        transport = httpx2.MockTransport(handler)
        if variant == "sync":
            return Either(Nemotron(http_client=httpx2.Client(transport=transport), **settings))
        return Either(AsyncNemotron(http_client=httpx2.AsyncClient(transport=transport), **settings))

    return in_process


class Clock:
    """A clock that a wait moves on at once.

    Attributes:
        waits: How long each wait was to be, in seconds.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._skipped = 0.0
        self._stopped: float | None = None

    def now(self) -> float:
        return (time.monotonic() if self._stopped is None else self._stopped) + self._skipped

    def stop(self) -> None:
        """Let nothing but waits move it on, so that a slow machine is no matter."""
        self._stopped = time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._skipped += seconds
        WATCHDOG.look_again()  # it waits for a time that may have come now

    async def sleep_in_task(self, seconds: float) -> None:
        self.sleep(seconds)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (
        "resources",
        "async_resources",
        "_transport.blocking",
        "_transport.nonblocking",
        "_transport.watchdog",
    ):
        monkeypatch.setattr(f"nemotron_client.{module}.monotonic", clock.now)
    monkeypatch.setattr("nemotron_client._transport.blocking.sleep", clock.sleep)
    monkeypatch.setattr("anyio.sleep", clock.sleep_in_task)
    return clock


class Agent(Protocol):
    """Carry a run out, by `run_tools` or by `stream_tools`."""

    async def __call__(
        self,
        messages: Messages | ToolRun,
        tools: Tools,
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> ToolRun: ...


@pytest.fixture(params=["run", "stream"])
def agent(client: Either, request: pytest.FixtureRequest) -> Agent:
    async def stream(
        messages: Messages | ToolRun,
        tools: Tools,
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> ToolRun:
        async with client.stream_tools(messages, tools, approvals, claim, **options) as events:
            return await events.until_done()

    return client.run_tools if request.param == "run" else stream
