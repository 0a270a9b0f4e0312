"""A client whose requests are answered in the process: blocking, on asyncio and on trio; of each HTTP library."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, TypedDict, Unpack

import httpx
import httpx2
import pytest

from nemotron_client import Timeout
from nemotron_client.testing import FakeServer, MockServer
from nemotron_client.testing.inprocess import InProcess
from tests.client.either import Either
from tests.testing.wire import Ask, Chat, asking

Variant = Literal["sync", "asyncio", "trio"]
Library = Literal["made", "httpx", "httpx2"]


class Settings(TypedDict, total=False):
    """What the tests here set, and both clients take."""

    base_url: str
    api_key: str
    timeout: Timeout | float | None
    max_retries: int


class Connect(Protocol):
    """Make a client of a fake or a cassette."""

    def __call__(self, server: InProcess, **settings: Unpack[Settings]) -> Either: ...


# What a test run within a test imports first is imported anew after it, and then nobody catches its exceptions.
for name in ("httpcore", "httpcore2"):
    import_module(name)

PLUGIN = "nemotron_client_pytest"
Run = Callable[..., pytest.RunResult]

APPLICATION = """
    import pytest

    from nemotron_client import AsyncNemotron, Nemotron
    from nemotron_client.testing import error, text

    def ask(client, question="Hello"):
        return client.chat.completions.create(messages=question).text
"""
MODEL = "mistralai/mistral-nemotron"
# Reading the system's certificates takes 20 ms and more; nothing here talks TLS.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def variant(request: pytest.FixtureRequest) -> Variant:
    variant: Variant = request.param
    return variant


@pytest.fixture(params=["made", "httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Library:
    """Whose client is used: one that is made for the purpose, or one that the test brings."""
    library: Library = request.param
    return library


@pytest.fixture
def anyio_backend(variant: Variant) -> str:
    return "trio" if variant == "trio" else "asyncio"


@pytest.fixture
async def connect(variant: Variant, library: Library) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        def connect(server: InProcess, **settings: Unpack[Settings]) -> Either:
            settings.setdefault("max_retries", 0)
            if variant == "sync":
                http_client = blocking(library)
                if http_client is not None:
                    stack.enter_context(http_client)
                return Either(server.client(model=MODEL, http_client=http_client, **settings))
            async_http_client = nonblocking(library)
            if async_http_client is not None:
                stack.push_async_callback(async_http_client.aclose)
            return Either(server.async_client(model=MODEL, http_client=async_http_client, **settings))

        yield connect


def blocking(library: Library) -> httpx.Client | httpx2.Client | None:
    if library == "httpx":
        return httpx.Client(verify=NO_CERTIFICATES)
    return httpx2.Client(verify=NO_CERTIFICATES) if library == "httpx2" else None


def nonblocking(library: Library) -> httpx.AsyncClient | httpx2.AsyncClient | None:
    if library == "httpx":
        return httpx.AsyncClient(verify=NO_CERTIFICATES)
    return httpx2.AsyncClient(verify=NO_CERTIFICATES) if library == "httpx2" else None


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def chat(server: MockServer, http: httpx2.Client) -> Chat:
    """Post a chat with this user message and these other fields."""

    def post(content: object = "Hello", **fields: object) -> httpx2.Response:
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        return http.post(f"{server.base_url}/chat/completions", json={"model": MODEL, "messages": messages, **fields})

    return post


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test.json"


@pytest.fixture
def vllm() -> Iterator[Ask]:
    with FakeServer(max_model_len=64) as server:
        yield asking(server)


@pytest.fixture
def hosted() -> Iterator[Ask]:
    with FakeServer(max_model_len=64, personality="hosted") as server:
        yield asking(server)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    # The plugins of the libraries that we test with import these libraries, which would be taken for ours.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]")  # or that of a folder above would count, wherever temporary files are

    def run(code: str, *arguments: str) -> pytest.RunResult:
        for old in pytester.path.glob("__pycache__/*"):
            old.unlink()
        pytester.makepyfile(test_app=APPLICATION + code)
        return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *arguments)

    return run
