"""A key is in no log, repr, error, traceback, warning or pickle, and goes only where it belongs."""

import logging
import pickle
import re
import traceback
import warnings
from collections.abc import Callable, Iterator

import anyio
import httpx2
import pytest

from nemotron_client import (
    APIError,
    AsyncNemotron,
    ConfigurationError,
    Nemotron,
    NemotronError,
    RetryPolicy,
    StreamInterruptedError,
    Timeout,
)
from nemotron_client.testing import MockServer, Reply, cut, error, problem, text
from tests.client.conftest import Connect, InProcess
from tests.client.either import Either

KEY = "nvapi-" + "SECRET" * 5
OTHER = "HIDDEN" * 5
ECHO = f"Incorrect API key provided: {KEY}, {OTHER}"
LOCAL = "http://localhost:8000/v1"


class Spy:
    """What the library has shown of itself."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.shown: list[str] = []
        self._caplog = caplog

    def look_at(self, thing: object) -> None:
        self.shown += [repr(thing), str(thing)]
        if isinstance(thing, NemotronError):
            self.shown += [repr(pickle.dumps(thing)), repr(vars(thing))]
            self._look_at_traceback(thing)

    def _look_at_traceback(self, error: BaseException) -> None:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        # Its own frames show what tests and their tools hold.
        for each in iter_chain(trace):
            each.stack[:] = [frame for frame in each.stack if re.search("nemotron_client|http", frame.filename)]
            self.shown += each.format()

    def saw(self, secret: str) -> list[str]:
        logged = [record.getMessage() + repr(record.__dict__) for record in self._caplog.records]
        return [shown for shown in self.shown + logged if secret in shown]


def iter_chain(trace: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while trace is not None:
        yield trace
        trace = trace.__cause__ or trace.__context__


@pytest.fixture
def spy(caplog: pytest.LogCaptureFixture) -> Iterator[Spy]:
    caplog.set_level(logging.DEBUG)
    for name in ("nemotron_client", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    spy = Spy(caplog)
    with warnings.catch_warnings(record=True, action="always") as caught:
        yield spy
    for each in caught:
        spy.look_at(each.message)
    assert not spy.saw(KEY)
    assert not spy.saw(OTHER)


@pytest.fixture
def client(connect: Connect, spy: Spy) -> Either:
    return connect(api_key=KEY, headers={"X-Token": OTHER}, retry=RetryPolicy(max_retries=0), on_event=spy.look_at)


async def test_an_answer(client: Either, spy: Spy, server: MockServer) -> None:
    done = await client.create()
    spy.look_at(client.inner)
    spy.look_at(done)
    spy.look_at(done.response)
    spy.look_at(pickle.dumps(done))
    async with client.stream() as stream:
        spy.look_at(stream.inner)
        for event in await stream.items():
            spy.look_at(event)
    spy.look_at(server.requests)
    assert [request.headers["x-token"] for request in server.requests] == [OTHER] * 2
    assert [request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests] == [True] * 2


@pytest.mark.parametrize(
    "reply",
    [
        error(401, ECHO),
        problem(403, "Forbidden", ECHO),
        Reply(status=500, body=f"<title>{ECHO}</title>"),
        Reply(status=307, headers={"location": f"https://elsewhere.example/?key={KEY}"}),
        Reply(body=ECHO),
        Reply(body={"error": ECHO}),
        Reply(status=202, headers={"nvcf-reqid": "no id"}),
        Reply(status=0, end="reset"),
        cut(text("one two"), after=1),
    ],
    ids=["401", "403", "html", "redirect", "no-json", "in-a-200", "202", "reset", "cut"],
)
async def test_an_error(reply: Reply, client: Either, spy: Spy, server: MockServer) -> None:
    server.reply(reply, reply)
    with pytest.raises(APIError) as caught:
        await client.create()
    spy.look_at(caught.value)
    with pytest.raises(APIError) as caught:
        async with client.stream() as stream:
            await stream.until_done()
    spy.look_at(caught.value)


@pytest.mark.parametrize("event", [f'{{"error":"{ECHO}"}}', ECHO, f'{{"choices":"{ECHO}"}}'])
async def test_an_error_inside_a_stream(event: str, client: Either, spy: Spy, server: MockServer) -> None:
    server.reply(Reply(chunks=[f"data: {event}\n\n".encode()]))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.until_done()
    spy.look_at(caught.value)
    assert "***" in str(caught.value)


async def test_a_timeout(client: Either, spy: Spy, server: MockServer) -> None:
    server.always(Reply(status=0, end="hang"))
    with pytest.raises(APIError) as caught:
        await client.create(timeout=Timeout(first_event=0.05))
    spy.look_at(caught.value)


async def test_a_header_in_which_the_server_repeats_it(connect: Connect, server: MockServer) -> None:
    client = connect(api_key=KEY, headers={"X-Token": OTHER}, max_retries=0)
    echo = {"x-request-id": f"for {KEY}", "x-token": OTHER}
    server.reply(Reply(body=b'{"choices":[{}]}', headers=echo), error(401, "no", headers=echo))
    done = await client.create()
    assert (done.response.request_id, done.response.headers["x-token"]) == ("for ***", "***")
    with pytest.raises(APIError) as caught:
        await client.create()
    assert "request id for ***" in str(caught.value)


async def test_headers_of_a_call(client: Either, spy: Spy, server: MockServer) -> None:
    server.reply(error(401, ECHO))
    with pytest.raises(APIError) as caught:
        await client.create(extra_headers={"X-Token": OTHER, "Authorization": f"Bearer {KEY}"})
    assert "***" in str(caught.value)
    spy.shown += [str(caught.value), repr(caught.value), repr(caught.value.body)]


async def test_settings_that_can_not_be(kind: type[Nemotron | AsyncNemotron], spy: Spy) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(api_key=KEY, base_url="ftp://example.com", headers={"X-Token": OTHER})
    spy.look_at(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        kind(api_key=f"{KEY} {KEY}", base_url=LOCAL)
    spy.look_at(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        kind(base_url=f"https://user:{KEY}@example.com/v1")
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        kind(api_key=KEY, base_url=LOCAL, headers={"X-Token": f"{OTHER}\n"})
    spy.look_at(caught.value)


async def test_a_bad_key_in_the_environment(
    kind: type[Nemotron | AsyncNemotron], spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(ConfigurationError, match="NVIDIA_API_KEY") as caught:
        kind()
    spy.look_at(caught.value)


class TestWhereAKeyGoes:
    @staticmethod
    async def sent(in_process: InProcess, base_url: str | None, api_key: str | None = None) -> str | None:
        headers: list[httpx2.Headers] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            headers.append(request.headers)
            return httpx2.Response(200, json={"choices": [{}]})

        await in_process(answer, api_key=api_key, base_url=base_url, model="m").create()
        return headers[0].get("authorization")

    async def test_one_from_the_environment_goes_to_nvidia(
        self, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NVIDIA_API_KEY", KEY)
        assert await self.sent(in_process, None) == f"Bearer {KEY}"
        assert await self.sent(in_process, "https://integrate.api.nvidia.com/v1") == f"Bearer {KEY}"

    async def test_one_from_the_environment_goes_nowhere_else(
        self, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NVIDIA_API_KEY", KEY)
        for url in ("https://example.com/v1", "https://nvidia.com.example/v1", "https://evilnvidia.com/v1", LOCAL):
            assert await self.sent(in_process, url) is None

    async def test_one_from_the_environment_goes_to_a_base_url_from_the_environment(
        self, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NVIDIA_API_KEY", KEY)
        monkeypatch.setenv("NVIDIA_BASE_URL", "https://proxy.example/v1")
        assert await self.sent(in_process, None) == f"Bearer {KEY}"
        assert await self.sent(in_process, "https://other.example/v1") is None

    async def test_one_that_is_given_goes_where_it_is_given_for(
        self, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NVIDIA_API_KEY", KEY)
        assert await self.sent(in_process, "https://example.com/v1", "made-up") == "Bearer made-up"
        assert await self.sent(in_process, None, "made-up") == "Bearer made-up"


@pytest.mark.parametrize("kind", [Nemotron, AsyncNemotron])
@pytest.mark.parametrize("given", [{"headers": "x"}, {"api_key": KEY.encode()}], ids=["headers", "bytes"])
def test_a_setting_of_another_type_beside_a_key(
    kind: Callable[..., object], given: dict[str, object], spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", KEY)
    with pytest.raises(ConfigurationError) as caught:
        kind(**{"api_key": KEY, **given})
    own = caught.value.with_traceback(caught.tb.tb_next)  # the test's own frame holds it, of course
    spy.look_at(own)


@pytest.mark.parametrize("proxy", [f"http://user:{KEY}/x@host:80", f"http://user:{KEY}@[::1"])
def test_a_proxy_with_a_password_that_breaks_its_url(proxy: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="is no URL that can be used") as caught,
        Nemotron(base_url="http://localhost:9/v1", model="m", proxy=proxy, max_retries=0) as client,
    ):
        client.chat.completions.create(messages="Hello")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("kind", [Nemotron, AsyncNemotron])
@pytest.mark.parametrize("proxy", [f"http://user:{KEY}/x@host:80", f"gopher://user:{KEY}@host"])
def test_a_proxy_with_a_password_in_the_locals_of_what_fails(kind: Callable[..., object], proxy: str, spy: Spy) -> None:
    async def use() -> None:
        async with AsyncNemotron(base_url="http://localhost:9/v1", model="m", proxy=proxy) as client:
            await client.chat.completions.create(messages="Hello")

    def use_blocking() -> None:
        with Nemotron(base_url="http://localhost:9/v1", model="m", proxy=proxy) as client:
            client.chat.completions.create(messages="Hello")

    with pytest.raises(ConfigurationError) as caught:
        use_blocking() if kind is Nemotron else anyio.run(use)
    spy.look_at(caught.value)
