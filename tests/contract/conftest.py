"""One set of behaviours over either client, either HTTP library, in the process and over a socket; or a live server."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, Protocol, Unpack

import anyio.lowlevel
import httpx
import httpx2
import pytest

from nemotron_client import AsyncNemotron, Nemotron
from nemotron_client.testing import FakeServer, MockServer
from tests.client.conftest import NO_CERTIFICATES, Clock, Settings, Variant, clock, variant
from tests.client.either import Either

__all__ = ["Clock", "clock", "variant"]

Library = Literal["httpx2", "httpx"]
Server = FakeServer | MockServer
MODEL = "mistralai/mistral-nemotron"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", help="the server that the live tests ask, with /v1; default: a MockServer")


class Connect(Protocol):
    """Make a client of a server, or of no server where respx stands in."""

    def __call__(self, server: Server | None = None, **settings: Unpack[Settings]) -> Either: ...


@pytest.fixture
def anyio_backend(variant: Variant) -> str:
    return "trio" if variant == "trio" else "asyncio"


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Library:
    library: Library = request.param
    return library


@pytest.fixture(params=["in process", "MockServer"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    kind: Callable[[], Server] = MockServer if request.param == "MockServer" else FakeServer
    with kind() as server:
        yield server


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
async def connect(variant: Variant, library: Library) -> AsyncIterator[Connect]:
    made: list[httpx.Client | httpx2.Client | httpx.AsyncClient | httpx2.AsyncClient] = []

    def connect(server: Server | None = None, **settings: Unpack[Settings]) -> Either:
        settings.setdefault("base_url", server.base_url if server else "http://localhost/v1")
        settings.setdefault("model", MODEL)
        of = httpx if library == "httpx" else httpx2
        if variant == "sync":
            blocking = of.Client(verify=NO_CERTIFICATES)
            made.append(blocking)
            client: Nemotron | AsyncNemotron = Nemotron(http_client=blocking, **settings)
        else:
            nonblocking = of.AsyncClient(verify=NO_CERTIFICATES)
            made.append(nonblocking)
            client = AsyncNemotron(http_client=nonblocking, **settings)
        if isinstance(server, FakeServer):
            server.attach(made[-1])
        return Either(client)

    yield connect
    for http_client in made:
        if isinstance(http_client, httpx.Client | httpx2.Client):
            http_client.close()
        else:
            await http_client.aclose()
    await anyio.lowlevel.checkpoint()


@pytest.fixture
def client(connect: Connect, server: Server) -> Either:
    return connect(server)
